"""The learner and the worlds of experiments/train_controller.py."""
