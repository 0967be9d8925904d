"""What was trained in an experiment directory, and its report."""
