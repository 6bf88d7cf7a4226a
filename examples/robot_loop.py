"""A policy in a robot's control loop: one compiled program, no state in Python, a fixed rate, and a log to replay.

The robot is a cart with a pole here. An action depends on the parameters, the number of the step and the observation
alone, so that a restarted loop goes on as the old one would have, and a log gives the same actions again.
"""

import time

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from own_arrays import clone, record

SECONDS = 5.0  # of the robot's time

if __name__ == "__main__":
    policy = clone(record(), {"num_seeds": 1, "eval.num_episodes": 0}, quiet=True).policy
    # In another process: policy = gtp_jax.load_policy(DIRECTORY), or one file without this package: docs/export.md.

    @jax.jit
    def control(params, step, obs):
        key = jax.random.fold_in(jax.random.key(0), step)
        return policy.act(params, key, obs, num_steps=2)

    params = policy.params_of(0)
    # Compiled before the loop starts, so that no step waits for the compiler, and another shape raises an error.
    compiled = control.lower(params, jnp.uint32(0), jnp.zeros(4)).compile()

    robot = gymnasium.make("InvertedPendulum-v5")
    period, log, late = robot.unwrapped.dt, [], 0
    obs, _ = robot.reset(seed=0)
    begun = time.perf_counter()
    for step in range(int(SECONDS / period)):
        started = time.perf_counter()
        action = np.asarray(compiled(params, np.uint32(step), obs.astype(np.float32)))  # waits for the result
        log.append((step, obs, action, time.perf_counter() - started))
        obs, _, fell, _, _ = robot.step(action)
        if fell:
            break
        rest = begun + (step + 1) * period - time.perf_counter()
        late += rest < 0
        time.sleep(max(rest, 0))

    steps, observations, actions, seconds = (np.array(column) for column in zip(*log, strict=True))
    half, most = 1000 * np.quantile(seconds, [0.5, 0.99])
    print(f"{len(log)} steps at {1 / period:.0f} Hz, {late} of them late; the pole {'fell' if fell else 'stands'}")
    print(f"an action takes {half:.2f} ms (median), {most:.2f} ms (99 % quantile), of {1000 * period:.0f} ms")
    replayed = jax.vmap(control, in_axes=(None, 0, 0))(params, steps.astype(np.uint32), observations.astype(np.float32))
    print(f"replayed from the log, all at once: actions differ by {np.abs(replayed - actions).max():.1e} at most")
