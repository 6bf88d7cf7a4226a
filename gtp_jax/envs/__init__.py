"""Environments that policies are evaluated in."""

D4RL_ANTMAZE_STEPS = {"umaze": 700, "medium": 1000, "large": 1000}  # d4rl/locomotion/__init__.py


def register() -> None:
    """Registers `gtp/D4RLAntMaze-{umaze,medium,large}-v0` in Gymnasium."""
    from gymnasium.envs import registration

    for maze, steps in D4RL_ANTMAZE_STEPS.items():
        if (env_id := f"gtp/D4RLAntMaze-{maze}-v0") not in registration.registry:
            where = "gtp_jax.envs.d4rl_antmaze:D4RLAntMaze"
            registration.register(env_id, where, max_episode_steps=steps, kwargs={"maze": maze})
