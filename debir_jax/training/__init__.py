"""Training: stages as data, one state with three optimizer states, checkpoints, and the runner."""
