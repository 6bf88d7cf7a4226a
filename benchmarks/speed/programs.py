"""The programs of peers.py: ours and the peers', each built and called as its own repository does.

    python programs.py NAME CHECKOUT OPTIONS

Trains for as many updates as each line of its standard input says; the first line builds the program, and everything is
compiled then. A program is a function of `data`, NumPy arrays [N, ...] named as D4RL names them, and of the batch size;
it returns (run, one, act): run(num_updates) trains, waits until it has, and returns the last loss; one() is a single
update that JAX can trace, so that its matmuls may be counted, or None with PyTorch, which counts while it runs;
act(obs [n, 29]) samples an action for each. Averages of the policy start at once, not after 1,000 updates.
"""

import copy
import importlib.util
import json
import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np

OBS, ACTIONS, BATCH, ROWS = 29, 8, 256, 100_000


def gtp(data, batch_size, method, hidden, activation="mish"):
    """Ours: one seed, as a run trains it, so many updates in one dispatch; `method` is a preset."""
    import jax

    from gtp_jax.agent import build
    from gtp_jax.config.presets import preset
    from gtp_jax.parallel.compiler import acting_options
    from gtp_jax.parallel.seeds import Seeds
    from gtp_jax.types import Batch

    changes = {f"{part}.activation": activation for part in ("policy", "critic")}
    changes |= {f"{part}.hidden": tuple(hidden) for part in ("policy", "critic")}
    settings = preset(method).replace(changes | {"batch_size": batch_size})
    obs, action, reward, terminal, next_obs = data.values()
    batch, bound = Batch(obs, action, reward, 1.0 - terminal, next_obs), np.ones(ACTIONS, np.float32)
    agent, hparams = build.build_agent(settings, -bound, bound, None)
    first = jax.tree.map(lambda column: column[:batch_size], batch)

    def init(key):
        return agent.init(key, first, hparams)

    seeds = Seeds(init, agent.update, batch, seeds=(0,), batch_size=batch_size)
    state = seeds.init()

    def run(num_updates):
        nonlocal state
        state, metrics = seeds.advance(state, num_updates)
        return float(seeds.gather(metrics)["policy/loss"][0])

    key, params = jax.random.key(0), init(jax.random.key(0)).policy_ema
    options = acting_options(jax.devices()[0])
    num_steps = settings.policy.num_steps
    sample = jax.jit(lambda params, key, obs: agent.act(params, key, obs, num_steps), compiler_options=options)
    return run, lambda: agent.update(init(key), first), lambda obs: np.asarray(sample(params, key, obs))


def _with_torch(agent_class, data, batch_size, **options):
    """An agent of the two PyTorch repositories with its sampler, no log writer."""
    import torch
    from utils.data_sampler import Data_Sampler

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    options |= {"state_dim": OBS, "action_dim": ACTIONS, "max_action": 1.0, "max_q_backup": False, "step_start_ema": 0}
    agent = agent_class(device="cpu", discount=0.99, lr=3e-4, grad_norm=2.0, tau=0.005, **options)
    sampler = Data_Sampler(data, "cpu", "cql_antmaze")

    def run(num_updates):
        return agent.train(sampler, iterations=num_updates, batch_size=batch_size)["critic_loss"][-1]

    def act(obs):
        with torch.no_grad():
            return agent.actor.sample(torch.as_tensor(obs)).numpy()

    return run, None, act


def diffusion_ql(data, batch_size):
    """Zhendong-Wang/Diffusion-Policies-for-Offline-RL: Diffusion-QL as its main.py runs antmaze-umaze, T = 5."""
    from agents.ql_diffusion import Diffusion_QL

    return _with_torch(Diffusion_QL, data, batch_size, beta_schedule="vp", n_timesteps=5, eta=0.5)


def consistency_ac(data, batch_size):
    """quantumiracle/Consistency_Model_For_Reinforcement_Learning: as its offline.py runs antmaze-umaze, T = 2.

    Its time grid grows from 2 to 150 points within each call of `train`, so a turn costs what a run costs on average.
    """
    from agents.ql_consistency import Consistency_QL

    return _with_torch(Consistency_QL, data, batch_size, n_timesteps=2, eta=0.01, q_norm=True)


def flowrl(data, batch_size):
    """typoverflow/flow-rl: its Diffusion-QL with the settings of its own dql.yaml, T = 5, a NumPy batch an update.

    Its dataset needs d4rl, so rows are drawn here as there, from a shuffled order.
    """
    import jax
    from flowrl.agent.offline.dql import DQLAgent
    from flowrl.types import Batch
    from omegaconf import OmegaConf

    config = OmegaConf.load(Path(sys.path[0]) / "examples" / "offline" / "config" / "d4rl" / "algo" / "dql.yaml").algo
    config.start_actor_ema = 0
    agent = DQLAgent(OBS, ACTIONS, config, seed=0)
    obs, action, reward, terminal, next_obs = data.values()
    columns = {"obs": obs, "action": action, "next_obs": next_obs, "next_action": action}
    columns |= {"reward": reward[:, None], "terminal": terminal[:, None]}
    order, at = np.random.default_rng(0).permutation(ROWS), 0

    def models(agent):
        return [getattr(agent, name) for name in agent.model_names]

    def draw():
        nonlocal at
        rows = order[at : at + batch_size]
        at = (at + batch_size) % (ROWS - 2 * batch_size)
        return Batch(**{name: column[rows] for name, column in columns.items()})

    def run(num_updates):
        for step in range(num_updates):
            metrics = agent.train_step(draw(), step)
        jax.block_until_ready(models(agent))
        return float(metrics["loss/critic_loss"])

    def one():
        traced = copy.copy(agent)
        return traced.train_step(draw(), 0), models(traced)

    return run, one, lambda obs: np.asarray(agent.sample_actions(obs, num_samples=1)[0])


def _with_fql(create, config, data, batch_size, loss, **sampling):
    """An agent of FQL's kind with its dataset, called as its main.py calls them: a NumPy batch for each update."""
    import jax
    from utils.datasets import Dataset

    dataset = Dataset.create(**data, masks=1.0 - data["terminals"])
    first, key = dataset.sample(1), jax.random.key(0)
    agent = create(0, first["observations"], first["actions"], config)

    def run(num_updates):
        nonlocal agent
        for _ in range(num_updates):
            agent, metrics = agent.update(dataset.sample(batch_size))
        jax.block_until_ready(agent)
        return float(metrics[loss])

    def act(obs):
        return np.asarray(agent.sample_actions(obs, seed=key, **sampling))

    return run, lambda: agent.update(dataset.sample(batch_size)), act


def _actor_and_values(hidden):
    """The widths of both, as FQL and GFP name them."""
    return {f"{part}_hidden_dims": tuple(hidden) for part in ("actor", "value")}


def fql(data, batch_size, hidden, flow_steps):
    """seohongpark/fql: flow Q-learning, whose own size is 4 x 512 and 10 flow steps."""
    from agents.fql import FQLAgent, get_config

    config = get_config()
    config.update(_actor_and_values(hidden) | {"flow_steps": flow_steps})
    return _with_fql(FQLAgent.create, config, data, batch_size, "critic/critic_loss")


def gfp(data, batch_size, hidden, flow_steps):
    """ZhangJL16/FQLbaseline: guided flow policies, as `guidance_table` trains them on OGBench's cubes."""
    from agents.gfp import GFPAgent

    config = _module("../scores/q_peers.py").hyperparameters("gfp", "cube-single-play")
    config |= _actor_and_values(hidden) | {"flow_steps": flow_steps, "log_metrics": True}
    return _with_fql(GFPAgent.create, config, data, batch_size, "critic/critic_loss")


def sorl(data, batch_size, hidden):
    """nico-espinosadice/SORL: its shortcut policy, whose own size is 4 x 512."""
    from agents.sorl import SORLAgent, get_config

    config = get_config()
    config.actor_layer_size, config.actor_num_layers = hidden[0], len(hidden)
    config.value_layer_size, config.value_num_layers = hidden[0], len(hidden)
    sampling = {"inference_timesteps": 8, "best_of_d": False, "n": 1}
    return _with_fql(SORLAgent.create, config, data, batch_size, "critic_loss", **sampling)


def _module(path):
    """A module of the benchmarks, by its path from here: what can be imported by name is the peer's."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, Path(__file__).parent / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def draw_data() -> dict[str, np.ndarray]:
    """Transitions of noise: the time does not depend on them."""
    rng = np.random.default_rng(0)
    terminals = (rng.random(ROWS) < 0.01).astype(np.float32)
    obs, next_obs = rng.standard_normal((2, ROWS, OBS), np.float32)
    actions = rng.uniform(-0.99, 0.99, (ROWS, ACTIONS)).astype(np.float32)
    data = {"observations": obs, "actions": actions, "rewards": terminals, "terminals": terminals.copy()}
    return data | {"next_observations": next_obs}


def matmul_mflop(run, one) -> float:
    """Of one update, what no output depends on left out."""
    if one is None:
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            run(1)
        return counter.get_total_flops() / 1e6
    return _module("flops.py").matmul_mflop(one)


def time_acting(act, calls: int = 20) -> dict[str, float]:
    """Milliseconds of a call for one observation and for 1,000."""
    found = {}
    for batch in (1, 1000):
        obs = np.zeros((batch, OBS), np.float32)
        act(obs)
        started = time.perf_counter()
        for _ in range(calls):
            act(obs)
        found[str(batch)] = 1000 * (time.perf_counter() - started) / calls
    return found


def serve() -> None:
    """Answers every line with one."""
    name, checkout, options = sys.argv[1:]
    answers, run = os.fdopen(os.dup(1), "w"), None
    os.dup2(2, 1)  # what a peer prints is no answer
    sys.path[0:1] = [checkout] if checkout else []  # in place of this folder: imports are the peer's
    for line in sys.stdin:
        wall, cpu, about = time.perf_counter(), time.process_time(), {}
        if run is None:
            run, one, act = globals()[name](draw_data(), BATCH, **json.loads(options))
            loss = run(int(line))
            about["seconds"] = time.perf_counter() - wall
            versions = {
                each: metadata.version(each) for each in ("torch", "jax", "flax", "numpy") if each in sys.modules
            }
            about["versions"] = {"python": platform.python_version(), **versions}
            about["matmul_mflop"] = matmul_mflop(run, one)
        else:
            loss = run(int(line))
        answer = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall, "loss": loss, **about}
        answers.write(json.dumps(answer | {"acting": time_acting(act)}) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
