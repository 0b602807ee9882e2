"""Training, evaluation, checkpoints, opened runs; the only home of Fabric."""
