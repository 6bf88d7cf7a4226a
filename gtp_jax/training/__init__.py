"""One run: updates, evaluations, checkpoints, results."""
