"""How policy, critic and guidance become one learner."""
