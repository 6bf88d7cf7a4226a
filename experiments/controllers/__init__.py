"""What experiments/train_controller.py needs: a learner, and the worlds that it learns in."""
