"""What an output means: losses, metrics and decoded predictions."""
