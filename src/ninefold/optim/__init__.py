"""What changes the weights: optimizers, parameter groups, schedules, averages of weights."""
