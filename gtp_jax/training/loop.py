"""The training loop: chunk of updates -> log -> evaluate -> checkpoint.

Everything but the timing is a function of the settings, so a run that was killed and started again ends with the same
files as one that was not.
"""

import collections
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gtp_jax import files
from gtp_jax.agent.acting import acting
from gtp_jax.agent.build import build_agent
from gtp_jax.config import trials
from gtp_jax.config.settings import Settings
from gtp_jax.datasets import Dataset, returns
from gtp_jax.envs.evaluation import Episodes, Evaluator
from gtp_jax.parallel import hosts
from gtp_jax.parallel.seeds import Seeds, choose_devices, device_beside
from gtp_jax.runs import provenance
from gtp_jax.runs.checkpoints import SCHEMA, RunInfo, Saved
from gtp_jax.runs.directory import UNSAVED
from gtp_jax.runs.loggers import MetricsLog
from gtp_jax.runs.terminal import Terminal
from gtp_jax.serving.policy import LoadedPolicy
from gtp_jax.training import checks, divergence, playing, warm_start
from gtp_jax.training.interruption import Interruption
from gtp_jax.training.results import Results
from gtp_jax.training.saving import Saving
from gtp_jax.types import Batch, State

Progress = Callable[[int, dict[str, np.ndarray]], object]  # (updates done, metrics [S]), "score" where evaluated


def training_batch(settings: Settings, dataset: Dataset) -> Batch:
    """The transitions that a run trains on, [N, ...]: over `critic.n_step` steps, with subgoals for a hierarchy."""
    critic, steps = settings.critic, settings.policy.subgoal_steps
    batch = returns.n_step(dataset.batch, dataset.episode, critic.n_step, critic.discount)
    if not steps or dataset.positions is None:
        return batch
    discount = np.asarray(dataset.batch.discount)
    return batch._replace(subgoal=returns.future_subgoals(dataset.positions, discount, dataset.episode, steps))


class Chunk(NamedTuple):
    """The outcome of some updates, which is written once their evaluation has ended."""

    step: int  # updates done
    metrics: dict[str, np.ndarray]  # [S]
    episodes: Future[Episodes] | None  # where it is evaluated
    saved: Saved | None  # where it is saved
    diverged: list[dict[str, Any]]  # so far


class Training:
    """One run: all of its trials, from the settings to the summary."""

    def __init__(
        self,
        settings: Settings,
        directory: Path | None,
        dataset: Dataset,
        terminal: Terminal,
        progress: Progress | None = None,
    ):
        """Builds all that the run needs; runs nothing. Without a directory nothing will be written.

        Raises ValueError for settings that fit neither data nor devices, and a source that cannot be continued.
        """
        checks.check_data(settings, dataset, terminal.say)
        self.settings, self.directory, self.dataset = settings, directory, dataset
        self.terminal, self.progress = terminal, progress
        self.results = Results(settings, directory, dataset)
        self.trials, hparams = self.results.trials, trials.hyperparameters(settings, self.results.trials)
        self.share = hosts.share(self.trials)  # the trials of this process
        self.seeds = tuple(trial.seed for trial in self.trials[self.share])
        self.agent, _ = build_agent(settings, dataset.action_low, dataset.action_high, dataset.layout)
        batch = training_batch(settings, dataset)
        example = jax.tree.map(lambda column: column[:1], batch)
        self.engine = Seeds(
            lambda key, hparams: self.agent.init(key, example, hparams),
            self.agent.update,
            batch,
            seeds=self.seeds,
            batch_size=settings.batch_size,
            own=[{name: jnp.float32(each[self.share]) for name, each in hparams.items()}],
            at_once=settings.seeds_at_once,
            devices=choose_devices(len(self.seeds), settings.devices),
        )
        self.evaluator: Evaluator | None = None
        if (env := dataset.env) is not None and settings.eval.num_episodes:
            how = (env.make_env, dataset.observe, self.seeds, settings.eval.num_envs, env.position, env.by_success)
            self.evaluator = Evaluator(*how)
        self.beside = device_beside(self.engine.devices, settings.eval.overlap)
        self.pool = ThreadPoolExecutor(max_workers=1) if self.beside else None
        self.waiting: collections.deque[Chunk] = collections.deque()
        self.episodes: Episodes | None = None  # of the latest evaluation
        self.host: Saved | None = None  # the latest state that was brought to the host
        self.latest = ""  # the latest score, as the progress shows it
        bounds = divergence.value_bounds(dataset.batch.reward, hparams["discount"], settings.critic.divergence)
        self.watch = divergence.Watch(self.results.labels, bounds, terminal.say)
        metrics = MetricsLog(directory, self.results.labels, settings) if directory and hosts.first() else None
        self.saving = Saving(directory, metrics, terminal.say)
        self.continued_from: dict[str, Any] | None = None  # the run that this one started from
        if settings.continue_from and not (directory and (directory / "checkpoints").is_dir()):
            warm_start.check_source(settings.continue_from, self.info([]))

    def info(self, diverged: list[dict[str, Any]], unwritten: dict[str, np.ndarray] | None = None) -> RunInfo:
        """The info that a checkpoint of this run holds; `unwritten` are metrics [S] whose rows wait for the scores."""
        scale = self.results.scale
        return RunInfo(
            settings=self.settings,
            trials=self.trials,
            observer=self.dataset.observe.spec(),
            layout=self.dataset.layout,
            action_low=tuple(self.dataset.action_low.tolist()),
            action_high=tuple(self.dataset.action_high.tolist()),
            fingerprint=self.dataset.fingerprint,
            diverged=diverged,
            continued_from=self.continued_from,
            versions=provenance.versions(),
            unwritten=files.plain(unwritten),
            environment=scale and f"{self.dataset.summary['environment']}, {scale.name}",
        )

    def split(self, state: State) -> Saved:
        """The state as the items of a checkpoint, host arrays [S, ...]."""
        host = hosts.gather(self.engine.gather(state))
        rest = host._replace(policy_ema=None, critic_ema=None)._asdict()
        return Saved(policy=host.policy_ema, critic=host.critic_ema, training=rest)

    def fetch(self, state: State, first: int, last: int) -> tuple[Saved, list[dict[str, Any]]]:
        """Brings the state after the updates `first` to `last` to the host; also what has diverged in it so far."""
        self.host = self.split(state)
        self.watch.state(first, last, self.host)
        return self.host, list(self.watch.found)

    def join(self, saved: Saved) -> State:
        """The inverse of `split`, on the devices."""
        state = State(**saved.training)._replace(policy_ema=saved.policy, critic_ema=saved.critic)
        state = jax.tree.map(lambda leaf: leaf[self.share], state)
        return self.engine.place(state._replace(key=jax.random.wrap_key_data(state.key, impl="threefry2x32")))

    def restore(self) -> tuple[int, State, dict[str, np.ndarray]]:
        """The newest sound checkpoint's step, state and metrics [S] that no row holds yet; or 0 and a new state."""
        state = self.engine.init()
        like, source = self.split(state), self.settings.continue_from
        found = self.saving.restore(like, self.info([]))
        if found is None and not source:
            return 0, state, {}
        step, there, self.host = found or warm_start.read_source(source, like)
        self.watch.recall(there.diverged)
        if found:
            self.continued_from = there.continued_from
        else:
            self.continued_from = warm_start.source_record(source, step, there, self.info([]))
            self.saving.save(step, self.host, self.info(self.watch.found))  # from here on the run stands alone
        unwritten = (there.unwritten if found else None) or {}
        return step, self.join(self.host), {name: np.array(each, float) for name, each in unwritten.items()}

    def num_episodes(self, step: int) -> int:
        """How many episodes of each seed are played after `step` updates."""
        own = self.settings.eval
        if self.evaluator is None:
            return 0
        if step == self.settings.num_updates:
            return own.num_episodes
        return 0 if step % own.every else own.progress_episodes

    def evaluate(self, state: State, num_episodes: int) -> Future[Episodes]:
        """Plays episodes with the averaged policies: beside the updates, or at once."""
        policy, evaluator = self.settings.policy, self.evaluator
        assert evaluator is not None
        act = acting(
            self.agent.act,
            self.engine.gather(state.policy_ema),
            self.seeds,
            num_steps=policy.num_steps,
            temperature=policy.temperature,
            noise_seed=self.settings.eval.seed,
            device=self.beside,
        )
        if self.pool:
            return self.pool.submit(playing.play, evaluator, act, num_episodes)
        done: Future[Episodes] = Future()
        done.set_result(playing.play(evaluator, act, num_episodes))
        return done

    def write(self, chunk: Chunk) -> None:
        """Writes the rows of a chunk, with the scores where it was evaluated, and saves it where that is due."""
        metrics, unwritten = chunk.metrics, None
        if chunk.episodes is not None:
            self.episodes = playing.gather(chunk.episodes.result())
            each = self.results.score(self.episodes).mean(axis=1)
            metrics, unwritten = metrics | {"score": each, "length": self.episodes.length.mean(axis=1)}, metrics
            self.latest, diverged = f"score {each.mean():.1f}", divergence.marks(self.results.labels, chunk.diverged)
            for values, indices in trials.combinations(self.trials):
                shown = " ".join(f"{each[i]:.0f}" + "*" * diverged[i] for i in indices)
                start = f"{chunk.step:>9,} updates  " + (f"{trials.name_values(values)}  " if values else "")
                self.terminal.say(f"  {start}score {each[indices].mean():5.1f}  (per seed: {shown})")
        self.saving.write(chunk.step, metrics)
        if unwritten is not None:
            self.saving.publish(self.results.curves)
        if chunk.saved is not None:
            self.saving.save(chunk.step, chunk.saved, self.info(chunk.diverged, unwritten))
        if self.progress is not None:
            self.progress(chunk.step, metrics)

    def write_waiting(self, wait: bool) -> None:
        """Writes the chunks that wait, in their order; those whose evaluation is not done only with `wait`."""
        while self.waiting:
            episodes = self.waiting[0].episodes
            if not wait and hosts.agree(episodes is not None and not episodes.done()):
                return
            self.write(self.waiting.popleft())

    def run(self) -> tuple[dict[str, Any] | None, int]:
        """Trains from the newest checkpoint, or from the start, to the end; returns the summary and 0.

        Or None and an exit code: 128 and its number for a run that a signal ended early, UNSAVED where the last state
        could not be saved.
        """
        started = time.perf_counter()
        settings, total = self.settings, self.settings.num_updates
        if self.evaluator:
            playing.prepare(self.evaluator, settings.eval.num_episodes, str(self.dataset.summary["environment"]))
        step, state, unwritten = self.restore()
        if step:
            self.terminal.say(f"resuming after {step:,} of {total:,} updates")
        first_step, training_seconds, interrupted = step, 0.0, 0
        with Interruption(self.terminal.say) as stop, self.terminal.progress("training", total, "updates", step) as bar:
            if unwritten:  # an earlier start was ended, or failed, while it evaluated
                episodes = self.evaluate(state, self.num_episodes(step)) if self.num_episodes(step) else None
                self.write(Chunk(step, unwritten, episodes, None, self.watch.found))
            while step < total and not interrupted:
                length = min(settings.log_every, total - step)
                before = time.perf_counter() - self.engine.compile_seconds
                state, metrics = self.engine.advance(state, length)
                metrics = hosts.gather(self.engine.gather(metrics))
                training_seconds += time.perf_counter() - self.engine.compile_seconds - before
                step += length
                self.watch.metrics(step - length + 1, step, metrics)
                episodes, saved, found = None, None, list(self.watch.found)
                if self.num_episodes(step):
                    # Saved before the first environment is stepped: whatever that raises, no update is lost.
                    self.write_waiting(wait=True)
                    saved, found = self.fetch(state, step - length + 1, step)
                    self.saving.save(step, saved, self.info(found, metrics))
                    self.saving.wait()
                    episodes = self.evaluate(state, self.num_episodes(step))
                interrupted = hosts.agree(stop.signal)
                ending = bool(interrupted) or step == total
                if saved is None and (ending or step % settings.checkpoint_every == 0):
                    saved, found = self.fetch(state, step - length + 1, step)
                self.waiting.append(Chunk(step, metrics, episodes, saved, found))
                self.write_waiting(wait=ending)
                losses = f"policy {metrics['policy/loss'].mean():.3g}"
                if "critic/loss" in metrics:
                    losses += f"  critic {metrics['critic/loss'].mean():.3g}"
                bar.update(step, (step - first_step) / training_seconds, f"{losses}  {self.latest}")
            held, interrupted = self.saving.holds(step), hosts.agree(stop.signal)
        if not held:
            return None, UNSAVED
        if interrupted:
            if self.directory is not None:
                self.terminal.say(f"stopped and saved; the same command resumes: --workdir={self.directory}")
            return None, 128 + interrupted
        if self.episodes is None and self.evaluator:  # an earlier start was ended after its last update
            self.episodes = playing.gather(self.evaluate(state, settings.eval.num_episodes).result())
        rate = (step - first_step) / training_seconds if training_seconds else None
        timing = {"updates_per_second": rate, "seed_updates_per_second": rate and rate * len(self.trials)}
        timing |= {"compile_seconds": self.engine.compile_seconds, "wall_seconds": time.perf_counter() - started}
        facts = {"schema": SCHEMA, "diverged": self.watch.found, "continued_from": self.continued_from}
        facts |= {"device": provenance.device() | {"used": [str(device) for device in self.engine.devices]}}
        facts |= {"timing": timing | {"finished": provenance.now()}}
        summary = self.results.summary(self.episodes, facts)
        if hosts.first():
            self.results.write(self.episodes, summary, self.share)
        return summary, 0

    def policy(self) -> LoadedPolicy:
        """The policy of the latest saved state, ready to act."""
        host = self.host
        assert host is not None
        return LoadedPolicy(self.info(self.watch.found), int(host.training["step"][0]), lambda _: host)

    def close(self) -> None:
        """Ends what runs beside, and closes the environments and the metrics."""
        if self.pool:
            self.pool.shutdown()
        if self.evaluator:
            self.evaluator.close()
        self.saving.close()
