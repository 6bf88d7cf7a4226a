"""Trains a controller that collects built-in data: soft actor-critic from scratch.

    OPENBLAS_NUM_THREADS=1 XLA_FLAGS=--xla_cpu_multi_thread_eigen=false \
        python experiments/train_controller.py ant --output=ant.npz --stages=250000

BODY is `ant` or `d4rl_ant`, which learn to walk towards way-points (for the data of AntMaze and of D4RL's AntMaze),
`ogbench_ant`, which learns OGBench's `online-ant-xy-v0` (for its ant mazes), or `hopper`, `halfcheetah` or `walker2d`,
which learn Gymnasium's task of that name. The ants' controllers are their last stages, not selected by their scores;
the stages of the others were chosen afterwards (docs/data.md). Equal arguments give equal files on one machine. 620,000
steps of the ant take about 25 minutes of one core, to which the settings above keep them.
"""

import argparse
import os
import time
from pathlib import Path

from gtp_jax.datasets.builtin import locomotion

BODIES = {"ant": None, "d4rl_ant": None, "ogbench_ant": None} | {
    name: env_id for name, (env_id, *_) in locomotion.BODIES.items()
}


def parse(argv):
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("body", choices=BODIES, metavar="BODY", help=f"one of {', '.join(BODIES)}")
    parser.add_argument("--output", type=Path, required=True, help="the .npz file to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=620_000, help="environment steps in all, over all bodies")
    parser.add_argument("--stages", default="", help="as in 250000,500000: also write OUTPUT_<steps>.npz then")
    parser.add_argument("--num-envs", type=int, default=16, help="bodies that move at once")
    parser.add_argument("--warmup", type=int, default=4_992, help="environment steps with random actions first")
    parser.add_argument("--updates", type=int, default=16, help="updates after every step of all bodies")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--report-every", type=int, default=20_000, help="environment steps between progress lines")
    args = parser.parse_args(argv)
    if not all(stage.isdecimal() for stage in args.stages.split(",") if args.stages):
        raise ValueError(f"--stages={args.stages}: expected integers with commas between, as in 250000,500000.")
    args.stages = [int(stage) for stage in args.stages.split(",") if stage]
    for name in ("num_envs", "updates", "batch_size", "report_every"):
        if not getattr(args, name) > 0:
            raise ValueError(f"--{name.replace('_', '-')}={getattr(args, name)} must be positive.")
    for name, steps in [("steps", args.steps), ("warmup", args.warmup), *(("stages", s) for s in args.stages)]:
        if not 0 < steps <= args.steps or steps % args.num_envs:
            bounds = f"a positive multiple of --num-envs={args.num_envs}, at most --steps={args.steps}"
            raise ValueError(f"--{name}: {steps} is not {bounds}.")
    if args.output.suffix != ".npz" or not args.output.parent.is_dir():
        raise ValueError(f"--output={args.output}: name an .npz file in a folder that exists.")
    return args


def save(controller, path: Path) -> None:
    """Writes a controller's weights, all or nothing."""
    import numpy as np

    partial_path = path.with_name(path.name + ".partial")
    with open(partial_path, "wb") as file:
        np.savez(file, **controller._asdict())
    os.replace(partial_path, path)


def main(argv: list[str] | None = None) -> None:
    """Trains and writes the controller."""
    args = parse(argv)

    import jax
    import numpy as np
    from controllers import sac
    from controllers.field import Field
    from controllers.locomotion import Gym, Heading

    rng, key = np.random.default_rng(args.seed), jax.random.key(args.seed)
    env_id = BODIES[args.body]
    if args.body == "ogbench_ant":
        world = Heading(args.num_envs, rng)
    else:
        world = Gym(env_id, args.num_envs, rng) if env_id else Field(args.body, args.num_envs, rng)
    learner = sac.init_learner(jax.random.fold_in(key, 0), world.feature_dim, world.action_dim)
    act = jax.jit(sac.sample)
    widths = sac.Replay((world.feature_dim,), (world.action_dim,), (), (world.feature_dim,), ())
    replay = sac.Replay(*(np.zeros((args.steps, *width), np.float32) for width in widths))
    scores, ends, start = [], 0, time.monotonic()
    for steps in range(args.num_envs, args.steps + 1, args.num_envs):
        act_key, update_key = jax.random.split(jax.random.fold_in(key, steps))
        obs = world.observe()
        if steps <= args.warmup:
            action = rng.uniform(-1, 1, (args.num_envs, world.action_dim)).astype(np.float32)
        else:
            action = np.asarray(act(learner.actor, obs, act_key)[0])
        next_obs, reward, ended, score = world.step(action)
        scores.append(score.mean())
        ends += int(ended.sum())
        for column, rows in zip(replay, (obs, action, reward, next_obs, world.gamma * ~ended), strict=True):
            column[steps - args.num_envs : steps] = rows
        if steps >= args.warmup:
            picks = rng.integers(0, steps, (args.updates, args.batch_size))
            batches = sac.Replay(*(column[picks] for column in replay))
            learner = sac.update_many(learner, batches, update_key, world.target_entropy)
        if steps in args.stages:
            save(sac.to_controller(learner.actor), args.output.with_stem(f"{args.output.stem}_{steps}"))
        if steps % args.report_every < args.num_envs or steps == args.steps:
            rate = steps / (time.monotonic() - start)
            exploring, tested = f"{np.mean(scores):5.2f}, {ends:4d} ended", world.test(sac.to_controller(learner.actor))
            ahead = f"{rate:.0f} steps/s, {(args.steps - steps) / rate / 60:.0f} min left"
            print(f"{steps:>9,}/{args.steps:,} | exploring {exploring} | tested {tested} | {ahead}", flush=True)
            scores, ends = [], 0
    save(sac.to_controller(learner.actor), args.output)
    print(f"wrote {args.output}", flush=True)


if __name__ == "__main__":
    main()
