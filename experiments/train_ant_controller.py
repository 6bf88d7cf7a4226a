"""Trains the ant controller that collects AntMaze data: soft actor-critic on an open field, from nothing.

    OPENBLAS_NUM_THREADS=1 XLA_FLAGS=--xla_cpu_multi_thread_eigen=false \
        python experiments/train_ant_controller.py --output=ant_controller.npz --stages=250000

An ant walks towards random way-points, re-drawn when it gets there or time runs out, so that it learns to turn at any
moment; a quarter of the starts are tilted, thrown or twisted, so that it learns to recover. The physics is gymnasium's
ant.xml at AntMaze's control rate. The last stage is the result: nothing is selected by its score. Equal arguments give
equal files on one machine. SAC with a learned temperature: Haarnoja et al., arXiv:1812.05905. Takes about 25 minutes
of one core, which the settings above keep it to.
"""

import argparse
import os
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import optax

from gtp_jax.datasets.ant import ACTION_DIM, FEATURE_DIM, AntController, features, to_ctrl

FRAME_SKIP, EPISODE_STEPS, HARD_STARTS = 5, 500, 0.25
GAMMA, TARGET_ENTROPY, LEARNING_RATE, TARGET_RATE = 0.98, -6.0, 5e-4, 0.005
ACTOR_HIDDEN, CRITIC_HIDDEN = 128, 256
EVAL_STEPS, EVAL_SEED = 300, 7


class Field:
    """Ants on an open plane, each on its way to its own way-point."""

    def __init__(self, num_envs: int, rng: np.random.Generator, hard_starts: float, max_speed: float):
        self.rng, self.hard_starts, self.max_speed = rng, hard_starts, max_speed
        self.model = mujoco.MjModel.from_xml_path(str(Path(gymnasium.__file__).parent / "envs/mujoco/assets/ant.xml"))
        self.data = [mujoco.MjData(self.model) for _ in range(num_envs)]
        self.qpos, self.qvel = np.zeros((num_envs, self.model.nq)), np.zeros((num_envs, self.model.nv))
        self.waypoint, (self.patience, self.age) = np.zeros((num_envs, 2)), np.zeros((2, num_envs), int)
        for i in range(num_envs):
            self._reset(i)
        # Staggered ages keep the resets of all ants from coinciding.
        self.age = rng.integers(0, EPISODE_STEPS, num_envs)

    def _new_waypoint(self, i):
        bearing, distance = self.rng.uniform(-np.pi, np.pi), self.rng.uniform(1.5, 6.0)
        self.waypoint[i] = self.qpos[i, :2] + distance * np.array([np.cos(bearing), np.sin(bearing)])
        self.patience[i] = self.rng.integers(80, 200)

    def _reset(self, i):
        rng, data = self.rng, self.data[i]
        mujoco.mj_resetData(self.model, data)
        yaw = rng.uniform(-np.pi, np.pi)
        data.qpos[:] = [0, 0, 0.55, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2), 0, 1, 0, -1, 0, -1, 0, 1]
        data.qpos[7:] += rng.uniform(-0.1, 0.1, 8)
        data.qvel[:] = 0.1 * rng.standard_normal(self.model.nv)
        if rng.random() < self.hard_starts:
            axis, tilt = rng.uniform(-np.pi, np.pi), rng.uniform(0, 0.9)
            turn = np.array([np.cos(tilt / 2), np.sin(tilt / 2) * np.cos(axis), np.sin(tilt / 2) * np.sin(axis), 0.0])
            mujoco.mju_mulQuat(data.qpos[3:7], turn, data.qpos[3:7].copy())
            data.qpos[2] = 0.75
            data.qpos[7:] += rng.uniform(-0.4, 0.4, 8)
            data.qvel[:] = np.concatenate([rng.normal(0, 1, 3), rng.normal(0, 2, 3), rng.normal(0, 3, 8)])
        mujoco.mj_forward(self.model, data)
        self.qpos[i], self.qvel[i], self.age[i] = data.qpos, data.qvel, 0
        self._new_waypoint(i)

    def _direction(self):
        offset = self.waypoint - self.qpos[:, :2]
        return offset / (np.linalg.norm(offset, axis=1, keepdims=True) + 1e-8)

    def observe(self) -> tuple[np.ndarray, np.ndarray]:
        """The features [n, 29] and quarter turns k [n] of the present state and way-point."""
        return features(np.concatenate([self.qpos[:, 2:], self.qvel], axis=1), self._direction())

    def step(self, action: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Moves every ant by one canonical action [n, 8] and draws new starts and way-points where they are due.

        Returns the next features [n, 29], still of the old episode and way-point; the reward [n]: speed towards the
        way-point, up to `max_speed`, less sideways speed, tilt, torques and 5 for a fall; whether the ant has fallen
        [n]; and its speed towards the way-point [n] in m/s.
        """
        direction, before, ctrl = self._direction(), self.qpos[:, :2].copy(), to_ctrl(action, k)
        for i, data in enumerate(self.data):
            data.ctrl[:] = ctrl[i]
            mujoco.mj_step(self.model, data, FRAME_SKIP)
            self.qpos[i], self.qvel[i] = data.qpos, data.qvel
        velocity = (self.qpos[:, :2] - before) / (self.model.opt.timestep * FRAME_SKIP)
        speed = (velocity * direction).sum(1)
        sideways = np.abs(velocity[:, 0] * direction[:, 1] - velocity[:, 1] * direction[:, 0])
        height, upright = self.qpos[:, 2], 1 - 2 * (self.qpos[:, 4] ** 2 + self.qpos[:, 5] ** 2)
        fallen = (upright < 0.1) | (height < 0.2) | (height > 1.2)
        reward = np.minimum(speed, self.max_speed) - 0.2 * sideways + 0.5 * upright - 0.1 * (action**2).sum(1)
        reward = np.clip(reward, -5, 5) - 5.0 * fallen
        next_features, _ = self.observe()
        self.age += 1
        self.patience -= 1
        arrived = np.linalg.norm(self.waypoint - self.qpos[:, :2], axis=1) < 0.8
        for i in np.flatnonzero(fallen | (self.age >= EPISODE_STEPS) | arrived | (self.patience <= 0)):
            if fallen[i] or self.age[i] >= EPISODE_STEPS:
                self._reset(i)
            else:
                self._new_waypoint(i)
        return next_features, reward, fallen, speed


class Replay(NamedTuple):
    """Transitions in the order they were made, float32; also a batch of them."""

    obs: Any  # [n, 29]
    action: Any  # [n, 8]
    reward: Any  # [n]
    next_obs: Any  # [n, 29]
    discount: Any  # [n]: 0 after a fall, GAMMA otherwise


class Learner(NamedTuple):
    """All that changes in training."""

    actor: Any
    critics: Any  # a pair
    target_critics: Any
    log_alpha: Any
    opt_states: Any  # of actor, critics, log_alpha


def init_mlp(key, sizes):
    """Weights and biases of a multi-layer perceptron: orthogonal, the last layer near 0."""
    keys, scales = jax.random.split(key, len(sizes) - 1), [1.4] * (len(sizes) - 2) + [0.014]
    layers = zip(keys, scales, sizes[:-1], sizes[1:], strict=True)
    return [(jax.nn.initializers.orthogonal(c)(k, (i, o)), jnp.zeros(o)) for k, c, i, o in layers]


def mlp(params, x, normalise):
    for i, (w, b) in enumerate(params):
        x = x @ w + b[None]
        if i < len(params) - 1:
            x = jax.nn.relu(jax.nn.standardize(x, axis=-1, epsilon=1e-5) if normalise else x)
    return x


def sample(actor, obs, key):
    """An action [n, 8] of the squashed Gaussian policy, and its log-density [n]."""
    mean, log_std = jnp.split(mlp(actor, obs, normalise=False), 2, axis=-1)
    log_std = jnp.clip(log_std, -5, 1)
    noise = jax.random.normal(key, mean.shape)
    raw = mean + jnp.exp(log_std) * noise
    log_density = -0.5 * noise**2 - log_std - 0.5 * jnp.log(2 * jnp.pi)
    # log(1 - tanh(raw)^2), without cancellation.
    log_slope = 2 * (jnp.log(2.0) - raw - jax.nn.softplus(-2 * raw))
    return jnp.tanh(raw), (log_density - log_slope).sum(-1)


def q_values(critics, obs, action):
    x = jnp.concatenate([obs, action], axis=-1)
    return jnp.stack([mlp(critic, x, normalise=True)[:, 0] for critic in critics])


def init_learner(key) -> Learner:
    keys = jax.random.split(key, 3)
    actor = init_mlp(keys[0], (FEATURE_DIM, ACTOR_HIDDEN, ACTOR_HIDDEN, 2 * ACTION_DIM))
    sizes = (FEATURE_DIM + ACTION_DIM, CRITIC_HIDDEN, CRITIC_HIDDEN, 1)
    critics = (init_mlp(keys[1], sizes), init_mlp(keys[2], sizes))
    log_alpha = jnp.log(jnp.float32(0.1))
    opt_states = tuple(optax.adam(LEARNING_RATE).init(params) for params in (actor, critics, log_alpha))
    return Learner(actor, critics, jax.tree.map(jnp.copy, critics), log_alpha, opt_states)


def update(learner: Learner, batch: Replay, key) -> Learner:
    """One step of SAC on a batch [B]."""
    next_key, actor_key = jax.random.split(key)
    adam, alpha = optax.adam(LEARNING_RATE), jnp.exp(learner.log_alpha)
    next_action, next_log_density = sample(learner.actor, batch.next_obs, next_key)
    next_q = q_values(learner.target_critics, batch.next_obs, next_action).min(0)
    target = batch.reward + batch.discount * (next_q - alpha * next_log_density)

    def critic_loss(critics):
        return ((q_values(critics, batch.obs, batch.action) - target[None]) ** 2).mean(1).sum()

    step, critic_opt = adam.update(jax.grad(critic_loss)(learner.critics), learner.opt_states[1])
    critics = optax.apply_updates(learner.critics, step)

    def actor_loss(actor):
        action, log_density = sample(actor, batch.obs, actor_key)
        return (alpha * log_density - q_values(critics, batch.obs, action).min(0)).mean(), log_density.mean()

    gradient, log_density = jax.grad(actor_loss, has_aux=True)(learner.actor)
    step, actor_opt = adam.update(gradient, learner.opt_states[0])
    actor = optax.apply_updates(learner.actor, step)
    step, alpha_opt = adam.update(-(log_density + TARGET_ENTROPY) * alpha, learner.opt_states[2])
    log_alpha = optax.apply_updates(learner.log_alpha, step)
    target_critics = optax.incremental_update(critics, learner.target_critics, TARGET_RATE)
    return Learner(actor, critics, target_critics, log_alpha, (actor_opt, critic_opt, alpha_opt))


@partial(jax.jit, donate_argnums=0)
def update_many(learner: Learner, batches: Replay, key) -> Learner:
    """One update for each of the batches [U, B]."""
    keys = jax.random.split(key, len(batches.reward))
    return jax.lax.scan(lambda state, x: (update(state, *x), None), learner, (batches, keys))[0]


def to_controller(actor) -> AntController:
    """The deterministic half of the policy: the mean's columns, as NumPy arrays."""
    (w0, b0), (w1, b1), (w2, b2) = jax.device_get(actor)
    return AntController(w0, b0, w1, b1, w2[:, :ACTION_DIM].copy(), b2[:ACTION_DIM].copy())


def save(controller: AntController, path: Path) -> None:
    partial_path = path.with_name(path.name + ".partial")
    with open(partial_path, "wb") as file:
        np.savez(file, **controller._asdict())
    os.replace(partial_path, path)


def evaluate(controller: AntController, num_envs: int) -> tuple[float, int]:
    """Mean speed towards way-points in m/s, and the falls, without exploration and from ordinary starts."""
    field = Field(num_envs, np.random.default_rng(EVAL_SEED), 0.0, np.inf)
    speeds, falls = [], 0
    for _ in range(EVAL_STEPS):
        obs, k = field.observe()
        _, _, fallen, speed = field.step(controller.canonical_action(obs), k)
        speeds.append(speed.mean())
        falls += int(fallen.sum())
    return float(np.mean(speeds)), falls


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="the .npz file to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=620_000, help="environment steps in all, over all ants")
    parser.add_argument("--stages", default="", help="as in 250000,500000: also write OUTPUT_<steps>.npz then")
    parser.add_argument("--num-envs", type=int, default=16, help="ants that walk at once")
    parser.add_argument("--warmup", type=int, default=4_992, help="environment steps with random actions first")
    parser.add_argument("--updates", type=int, default=16, help="updates after every step of all ants")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--max-speed", type=float, default=3.0, help="m/s beyond which speed earns nothing")
    parser.add_argument("--report-every", type=int, default=20_000, help="environment steps between progress lines")
    args = parser.parse_args(argv)
    if not all(stage.isdecimal() for stage in args.stages.split(",") if args.stages):
        raise ValueError(f"--stages={args.stages}: expected integers with commas between, as in 250000,500000.")
    args.stages = [int(stage) for stage in args.stages.split(",") if stage]
    for name in ("num_envs", "updates", "batch_size", "report_every", "max_speed"):
        if not getattr(args, name) > 0:
            raise ValueError(f"--{name.replace('_', '-')}={getattr(args, name)} must be positive.")
    for name, steps in [("steps", args.steps), ("warmup", args.warmup), *(("stages", s) for s in args.stages)]:
        if not 0 < steps <= args.steps or steps % args.num_envs:
            bounds = f"a positive multiple of --num-envs={args.num_envs}, at most --steps={args.steps}"
            raise ValueError(f"--{name}: {steps} is not {bounds}.")
    if args.output.suffix != ".npz" or not args.output.parent.is_dir():
        raise ValueError(f"--output={args.output}: name an .npz file in a folder that exists.")
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    rng, key = np.random.default_rng(args.seed), jax.random.key(args.seed)
    field = Field(args.num_envs, rng, HARD_STARTS, args.max_speed)
    learner, act = init_learner(jax.random.fold_in(key, 0)), jax.jit(sample)
    widths = Replay((FEATURE_DIM,), (ACTION_DIM,), (), (FEATURE_DIM,), ())
    replay = Replay(*(np.zeros((args.steps, *width), np.float32) for width in widths))
    speeds, falls, start = [], 0, time.monotonic()
    for steps in range(args.num_envs, args.steps + 1, args.num_envs):
        act_key, update_key = jax.random.split(jax.random.fold_in(key, steps))
        obs, k = field.observe()
        if steps <= args.warmup:
            action = rng.uniform(-1, 1, (args.num_envs, ACTION_DIM)).astype(np.float32)
        else:
            action = np.asarray(act(learner.actor, obs, act_key)[0])
        next_obs, reward, fallen, speed = field.step(action, k)
        speeds.append(speed.mean())
        falls += int(fallen.sum())
        for column, rows in zip(replay, (obs, action, reward, next_obs, GAMMA * ~fallen), strict=True):
            column[steps - args.num_envs : steps] = rows
        if steps >= args.warmup:
            picks = rng.integers(0, steps, (args.updates, args.batch_size))
            learner = update_many(learner, Replay(*(column[picks] for column in replay)), update_key)
        if steps in args.stages:
            save(to_controller(learner.actor), args.output.with_stem(f"{args.output.stem}_{steps}"))
        if steps % args.report_every < args.num_envs or steps == args.steps:
            rate, form = steps / (time.monotonic() - start), "{:5.2f} m/s, {:4d} falls".format
            exploring = form(np.mean(speeds), falls)
            tested = form(*evaluate(to_controller(learner.actor), args.num_envs))
            ahead = f"{rate:.0f} steps/s, {(args.steps - steps) / rate / 60:.0f} min left"
            print(f"{steps:>9,}/{args.steps:,} | exploring {exploring} | tested {tested} | {ahead}", flush=True)
            speeds, falls = [], 0
    save(to_controller(learner.actor), args.output)
    print(f"wrote {args.output}", flush=True)


if __name__ == "__main__":
    main()
