"""The training loop: chunk of updates -> log -> evaluate -> checkpoint.

Everything but the timing is a function of the settings, so a run that was killed and started again ends with the same
files as one that was not.
"""

import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gtp_jax import files
from gtp_jax.agent import build
from gtp_jax.agent.acting import acting
from gtp_jax.config import trials
from gtp_jax.config.settings import describe, is_cloning
from gtp_jax.datasets import Dataset, check_batch_size, returns
from gtp_jax.envs.evaluation import Episodes, Evaluator
from gtp_jax.parallel import hosts
from gtp_jax.parallel.seeds import Seeds, choose_devices, device_beside
from gtp_jax.runs import provenance, scores
from gtp_jax.runs.checkpoints import SCHEMA, Saved
from gtp_jax.runs.directory import UNSAVED
from gtp_jax.runs.loggers import Metrics
from gtp_jax.runs.terminal import Bar, Terminal
from gtp_jax.training import divergence, warm_start
from gtp_jax.training.background import Background
from gtp_jax.training.interruption import Interruption
from gtp_jax.training.results import Results
from gtp_jax.training.saving import Storage
from gtp_jax.types import State


class Training:
    """One run in one directory: all of its seeds, from the settings to the summary."""

    def __init__(self, settings: Mapping[str, Any], workdir: Path, dataset: Dataset, terminal: Terminal):
        check_batch_size(settings["batch_size"], len(dataset.batch.reward), dataset.id)
        if dataset.maze is None:
            scores.family(dataset.id)  # refuses one whose returns have no references, before any of them is computed
        self.settings, self.workdir, self.dataset, self.terminal = settings, workdir, dataset, terminal
        self.lanes = trials.lanes(settings)
        self.labels = [lane.label() for lane in self.lanes]
        self.share = hosts.share(self.lanes)  # of the lanes, that of this process
        own = self.lanes[self.share]
        self.seeds = tuple(lane.seed for lane in own)
        self.agent, _ = build.make(settings, dataset.action_low, dataset.action_high)
        critic = settings["critic"]
        batch = returns.n_step(dataset.batch, dataset.episode, critic["n_step"], critic["discount"])
        if settings["policy"]["subgoal_steps"]:
            way = returns.ahead(dataset.batch, dataset.episode, dataset.observe, settings["policy"]["subgoal_steps"])
            batch = batch._replace(subgoal=way)
        example = jax.tree.map(lambda column: column[:1], batch)
        self.engine = Seeds(
            lambda key, hparams: self.agent.init(key, example, hparams),
            self.agent.update,
            batch,
            seeds=self.seeds,
            batch_size=settings["batch_size"],
            own=[{name: jnp.float32(each) for name, each in trials.hyperparameters(settings, own).items()}],
            at_once=settings["seeds_at_once"],
            devices=choose_devices(len(own), settings["devices"]),
        )
        self.evaluator = Evaluator(dataset.make_env, dataset.observe, self.seeds, num_envs=settings["eval"]["num_envs"])
        self.beside = device_beside(self.engine.devices, settings["eval"]["overlap"])
        self.background = Background(enabled=self.beside is not None)
        self.episodes: Episodes | None = None  # of the latest evaluation
        self.scores: dict[int, float] = {}  # the mean over all lanes, by step
        self.latest = ""  # its score, as the progress bar shows it
        self.results = Results(settings, workdir, dataset)
        discounts = trials.hyperparameters(settings, self.lanes)["discount"]
        bounds = divergence.value_bounds(dataset.batch.reward, discounts, settings["critic"]["divergence"])
        self.watch = divergence.Watch(self.labels, bounds, terminal.say)
        metrics = Metrics(workdir, self.labels, settings["log"], settings) if hosts.first() else None
        self.storage = Storage(workdir, metrics, terminal.say)
        self.continued_from: dict[str, Any] | None = None  # the run that this one goes on from
        if settings["continue_from"] and not (workdir / "checkpoints").is_dir():
            warm_start.check(settings["continue_from"], self.about())

    def facts(self) -> dict[str, str]:
        """What is run, on what, for a person to read before it starts."""
        settings, dataset, combinations = self.settings, self.dataset, trials.combinations(self.lanes)
        behaviour = dataset.summary["behaviour_success"]
        reached = "" if behaviour is None else f", reaching the goal in {100 * behaviour:.1f} % of its episodes"
        return {
            "method": describe(settings) + (" (no critic)" if is_cloning(settings) else ""),
            "data": f"{dataset.id}: {dataset.summary['transitions']:,} transitions{reached}",
            "seeds": ", ".join(map(str, dict.fromkeys(lane.seed for lane in self.lanes))),
            "updates": f"{settings['num_updates']:,} of batch {settings['batch_size']}",
            "devices": f"{', '.join(map(str, self.engine.devices))} ({self.engine.devices[0].device_kind}), "
            f"matrix products in {settings['matmul_precision']}",
            "evaluation": "beside the updates, on the processor" if self.beside else "between updates",
            "directory": str(self.workdir),
        } | (
            {"sweep": "; ".join(trials.describe(values) for values, _ in combinations)} if len(combinations) > 1 else {}
        )

    def about(self) -> dict[str, Any]:
        """What a checkpoint says of itself: all that loading the policy needs besides the arrays."""
        return files.plain(
            {
                "schema": SCHEMA,
                "settings": self.settings,
                "lanes": self.labels,
                "observer": self.dataset.observe.spec(),
                "action_low": self.dataset.action_low,
                "action_high": self.dataset.action_high,
                "fingerprint": self.dataset.fingerprint,
                "diverged": self.watch.found,
                "continued_from": self.continued_from,
                "versions": provenance.versions(),
            }
        )

    def split(self, state: State) -> Saved:
        """The state as the items of a checkpoint, host arrays [S, ...]."""
        host = hosts.gather(self.engine.gather(state))
        rest = host._replace(policy_ema=None, critic_ema=None)._asdict()
        return Saved(policy=host.policy_ema, critic=host.critic_ema, training=rest)

    def join(self, saved: Saved) -> State:
        """The inverse of `split`, on the devices."""
        state = State(**saved.training)._replace(policy_ema=saved.policy, critic_ema=saved.critic)
        state = jax.tree.map(lambda leaf: leaf[self.share], state)
        return self.engine.place(state._replace(key=jax.random.wrap_key_data(state.key, impl="threefry2x32")))

    def restore(self) -> tuple[int, State]:
        """The newest sound checkpoint's step and state; or 0 and a new state."""
        state = self.engine.init()
        like, source = self.split(state), self.settings["continue_from"]
        found = self.storage.restore(like, self.about())
        if found is None and not source:
            return 0, state
        step, about, saved = found or warm_start.adopt(source, like)
        self.watch.recall(about["diverged"])
        if found:
            self.continued_from = about.get("continued_from")
        else:
            self.continued_from = warm_start.provenance(source, step, about, self.about())
            self.save(step, saved)  # from here on the run stands alone
        return step, self.join(saved)

    def evaluate(self, state: State, num_episodes: int, then: Callable[[Episodes], None]) -> None:
        """Plays episodes with the averaged policies, as the settings' `policy` and `eval` say; `then` gets them."""
        policy = self.settings["policy"]
        act = acting(
            self.agent.act,
            self.engine.gather(state.policy_ema),
            self.seeds,
            num_steps=policy["num_steps"],
            temperature=policy["temperature"],
            noise_seed=self.settings["eval"]["seed"],
            device=self.beside,
        )

        def gathered(episodes):
            positions = episodes.positions  # of this process's lanes: they are drawn, not counted
            self.episodes = hosts.gather(episodes._replace(positions=None))._replace(positions=positions)
            then(self.episodes)

        self.background.start(lambda: self.evaluator(act, num_episodes), gathered)

    def log(self, bar: Bar, step: int, metrics: dict[str, np.ndarray], episodes: Episodes | None = None) -> None:
        """Writes the rows of a step, with the scores where it was evaluated."""
        if episodes is not None:
            score = self.results.score(episodes).mean(axis=1)
            metrics = metrics | {"score": score, "length": episodes.length.mean(axis=1)}
            self.scores[step] = float(score.mean())
            self.latest, diverged = f"score {self.scores[step]:.1f}", self.watch.diverged()
            for values, places in trials.combinations(self.lanes):
                shown = " ".join(f"{score[i]:.0f}" + "*" * diverged[i] for i in places)
                name = trials.describe(values) + "  " if values else ""
                bar.milestone(f"  {step:>9,} updates  {name}score {score[places].mean():5.1f}  (seeds: {shown})")
        self.storage.write(step, metrics)
        if episodes is not None:
            self.storage.publish(self.results.curves)

    def save(self, step: int, saved: Saved) -> None:
        """Saves in the background, once all rows up to `step` are written."""
        self.storage.save(step, saved, self.about() | {"score": files.plain(self.scores.get(step))})

    def run(self) -> tuple[dict[str, Any] | None, int]:
        """Trains from the newest checkpoint, or from the start, to the end.

        Returns:
          The summary and 0; or None and the exit code of a run that a signal ended early, 128 and its number, or
          UNSAVED where the last state could not be saved.
        """
        started = time.perf_counter()
        settings, total, background = self.settings, self.settings["num_updates"], self.background
        self.evaluator.prepare(settings["eval"]["num_episodes"])  # what may fail, before the training
        step, state = self.restore()
        if step:
            self.terminal.say(f"resuming after {step:,} of {total:,} updates")
        first_step, training_seconds, interrupted = step, 0.0, 0
        with Interruption(self.terminal.say) as stop, self.terminal.progress("training", total, "updates", step) as bar:
            while step < total and not interrupted:
                length = min(settings["log_every"], total - step)
                compiled_before, chunk_started = self.engine.compile_seconds, time.perf_counter()
                state, metrics = self.engine.advance(state, length)
                metrics = hosts.gather(self.engine.gather(metrics))
                compiled = self.engine.compile_seconds - compiled_before
                training_seconds += time.perf_counter() - chunk_started - compiled
                step += length
                self.watch.metrics(step - length + 1, step, metrics)
                log = functools.partial(self.log, bar, step, metrics)
                evaluated = step == total or step % settings["eval"]["every"] == 0
                if evaluated:
                    num_episodes = settings["eval"]["num_episodes" if step == total else "progress_episodes"]
                    self.evaluate(state, num_episodes, log)
                else:
                    background.after(log)
                losses = f"policy {metrics['policy/loss'].mean():.3g}"
                if "critic/loss" in metrics:
                    losses += f"  critic {metrics['critic/loss'].mean():.3g}"
                bar.update(step, (step - first_step) / training_seconds, f"{losses}  {self.latest}")
                interrupted = hosts.agree(stop.signal)
                ending = interrupted or step == total
                # At evaluations, too: the best step can be kept only if it was saved.
                if ending or evaluated or step % settings["checkpoint_every"] == 0:
                    saved = self.split(state)
                    self.watch.state(step - length + 1, step, saved)
                    background.after(functools.partial(self.save, step, saved))
                if ending or not hosts.agree(background.busy()):
                    background.settle()
            held, interrupted = self.storage.holds(step), hosts.agree(stop.signal)
        if not held:
            return None, UNSAVED
        if interrupted:
            self.terminal.say(f"stopped and saved; the same command goes on: --workdir={self.workdir}")
            return None, 128 + interrupted
        if self.episodes is None:  # an earlier start was ended after its last update
            self.evaluate(state, settings["eval"]["num_episodes"], lambda episodes: None)
            background.settle()
        rate = (step - first_step) / training_seconds if training_seconds else None
        timing = {
            "updates_per_second": rate,
            "seed_updates_per_second": rate and rate * len(self.lanes),
            "compile_seconds": self.engine.compile_seconds,
            "wall_seconds": time.perf_counter() - started,
            "finished": provenance.now(),
        }
        return self.finish(timing), 0

    def finish(self, timing: dict[str, Any]) -> dict[str, Any]:
        """Writes the results; returns the summary."""
        about = {
            "schema": SCHEMA,
            "diverged": self.watch.found,
            "continued_from": self.continued_from,
            "device": provenance.device() | {"used": [str(device) for device in self.engine.devices]},
            "timing": timing,
        }
        summary = self.results.summary(self.episodes, about)
        if hosts.first():
            self.results.maze(self.episodes, self.share)
            self.results.write(self.episodes, summary)
        return summary

    def close(self) -> None:
        """Ends what runs beside, and closes the environments and the metrics."""
        self.background.close()
        self.evaluator.close()
        self.storage.close()
