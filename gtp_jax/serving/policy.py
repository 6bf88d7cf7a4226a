"""Trained policies, loaded from a run's directory to act."""

import functools
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gtp_jax.agent import build
from gtp_jax.agent.acting import BestOf, acting
from gtp_jax.agent.update import draw
from gtp_jax.config import trials
from gtp_jax.config.settings import check, completed, is_cloning
from gtp_jax.datasets import Observer
from gtp_jax.parallel.compiler import acting_options
from gtp_jax.runs.checkpoints import SCHEMA, Checkpoints, DamagedCheckpoint, Saved
from gtp_jax.types import Array, Batch, Evaluation, Key


class LoadedPolicy:
    """The averaged policies of a run's seeds, ready to act on raw environment observations."""

    def __init__(self, about: dict[str, Any], checkpoints: Checkpoints, step: int):
        """Reads the averaged parameters, and nothing else, from a checkpoint; see `load_policy`."""
        if about.get("schema") != SCHEMA:
            raise ValueError(
                f"{checkpoints.directory}: written in layout {about.get('schema')} by gtp_jax "
                f"{about.get('versions', {}).get('gtp_jax')}, and this version reads layout {SCHEMA}; load it with the "
                "version that wrote it, or train again"
            )
        self.settings, self.step = completed(about["settings"]), step
        check(self.settings)
        self.lanes = trials.from_labels(about["lanes"])
        self.seeds: tuple[int, ...] = tuple(lane.seed for lane in self.lanes)
        self.diverged: list[dict[str, Any]] = about.get("diverged", [])  # divergence.Watch.found at this checkpoint
        self.observe = Observer.from_spec(about["observer"])
        low, high = (np.asarray(about[name], np.float32) for name in ("action_low", "action_high"))
        if low.ndim != 1 or low.shape != high.shape or not (np.isfinite([low, high]).all() and (low <= high).all()):
            raise ValueError(f"action_low and action_high must be finite bounds [A], got {low!s:.80} and {high!s:.80}")
        self.action_low, self.action_high = low, high
        self._policy = build.acting_policy(self.settings, low, high)
        example = Batch(
            obs=jnp.zeros((1, len(self.observe.mean))),
            action=jnp.zeros((1, len(low))),
            reward=jnp.zeros(1),
            discount=jnp.zeros(1),
            next_obs=jnp.zeros((1, len(self.observe.mean))),
        )
        self._critic = None if is_cloning(self.settings) else build.make_critic(self.settings["critic"])

        def init(key):
            return self._policy.init(key, example), self._critic.init(key, example) if self._critic else None

        keys = jax.random.split(jax.random.key(0), len(self.seeds))
        saved = checkpoints.restore(step, Saved(*jax.eval_shape(jax.vmap(init), keys), None))
        self.params, self._critic_params = jax.device_put((saved.policy, saved.critic))
        compiled = functools.partial(jax.jit, static_argnums=3, compiler_options=acting_options(jax.devices()[0]))
        self._sample = compiled(self.sampling)
        self._sample_all = compiled(jax.vmap(self.sampling, in_axes=(0, None, None, None, None)))
        self._judge = jax.jit(self._judging)
        self._key = jax.random.key(0)
        # Taking a lane's parameters out of all costs more than a sample: done once for each that acts.
        self.params_of = functools.cache(self._parameters)

    def _parameters(self, index: int) -> Any:
        params = jax.tree.map(lambda leaf: leaf[index], self.params)
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
            raise ValueError(
                f"seed_index = {index}: {trials.describe(self.lanes[index].label())} diverged in training, its "
                "parameters are not finite; choose another lane"
            )
        return params

    def sampling(self, params: Any, key: Key, obs: Array, num_steps: int, temperature: Array) -> Array:
        """Actions [*B, A] of a lane's parameters for observations [*B, O] as the policy sees them; to be compiled."""
        # In the precision of the run, which JAX's own default need not be.
        with jax.default_matmul_precision(self.settings["matmul_precision"]):
            return self._policy.sample(params, key, obs, num_steps, temperature)

    def resolve(self, num_steps: int | None, temperature: float | None, seed_index: int | None) -> tuple[int, float]:
        """The run's own K and temperature in the place of None; ValueError, naming the argument, for what is none."""
        own = self.settings["policy"]
        num_steps = own["num_steps"] if num_steps is None else num_steps
        temperature = own["temperature"] if temperature is None else temperature
        if not isinstance(num_steps, int | np.integer) or num_steps < 1:
            raise ValueError(f"num_steps = {num_steps!r} must be a whole number from 1")
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature = {temperature!r} must be at least 0 and finite")
        if seed_index is not None and seed_index not in range(len(self.lanes)):
            raise ValueError(
                f"seed_index = {seed_index!r}: this run has {len(self.lanes)} lanes, counted from 0 (seeds "
                f"{', '.join(map(str, self.seeds))}); None is all of them"
            )
        return int(num_steps), float(temperature)

    def __call__(
        self,
        obs: Any,
        *,
        key: Key | None = None,
        num_steps: int | None = None,
        temperature: float | None = None,
        seed_index: int | None = 0,
    ) -> np.ndarray:
        """One action for each observation.

        Args:
          obs: an environment's observation, an array (NumPy's or JAX's) or a dict of arrays, with any leading axes.
          key: of the action's noise; by default always the same one, so that equal observations get equal actions.
          num_steps: K; the run's own by default.
          temperature: scale of the first draw; the run's own by default. 0 is deterministic.
          seed_index: which of the run's S `lanes` acts; without a sweep these are its seeds. None: each of them, on the
            same noise.

        Returns:
          [*B, A] inside the action's bounds, or [S, *B, A] where all lanes act.

        Raises:
          ValueError: for an observation of another form than the policy was trained on, for a lane whose parameters are
            not finite, and for other arguments that mean nothing.
        """
        num_steps, temperature = self.resolve(num_steps, temperature, seed_index)
        sample, params = (
            (self._sample_all, self.params) if seed_index is None else (self._sample, self.params_of(seed_index))
        )
        key = self._key if key is None else key
        return np.asarray(sample(params, key, self.observe(obs), num_steps, temperature))

    def judge(self, batch: Batch, *, key: Key | None = None, seed_index: int = 0) -> Evaluation:
        """What the run's averaged critic says of transitions [B, ...], observations as the policy sees them.

        Raises:
          ValueError: where no critic was trained.
        """
        if self._critic is None:
            raise ValueError("this run cloned and has no critic to ask; train one with guidance")
        own = trials.hyperparameters(self.settings, self.lanes)
        hparams = {name: jnp.float32(values[seed_index]) for name, values in own.items()}
        params, critic_params = jax.tree.map(lambda leaf: leaf[seed_index], (self.params, self._critic_params))
        return self._judge(params, critic_params, self._key if key is None else key, batch, hparams)

    def _judging(self, params: Any, critic_params: Any, key: Key, batch: Batch, hparams: Any) -> Evaluation:
        with jax.default_matmul_precision(self.settings["matmul_precision"]):
            critic, num_steps = self._critic, self.settings["critic"]["num_steps"]
            drawn = draw(self._policy, params, key, batch, critic.next_samples, critic.samples, num_steps)
            return critic.evaluate(critic_params, critic_params, batch, *drawn, hparams)

    def acting(
        self,
        *,
        num_steps: int,
        temperature: float,
        noise_seed: int,
        candidates: int = 1,
        inverse_temperature: float = math.inf,
    ) -> Callable[[int, np.ndarray], Array]:
        """All seeds' policies as the one function that an evaluation calls; see `acting`.

        Raises:
          ValueError: for several candidates where no critic was trained that could choose.
        """
        if candidates > 1 and self._critic is None:
            raise ValueError(f"candidates = {candidates}: this run cloned and has no critic to choose by; use 1")
        if candidates > 1 and self._critic.q is None:
            name = self.settings["critic"]["name"]
            raise ValueError(f"candidates = {candidates}: critic.name = {name!r} values states, not actions; use 1")
        return acting(
            self.sampling,
            self.params,
            self.seeds,
            num_steps=num_steps,
            temperature=temperature,
            noise_seed=noise_seed,
            best=BestOf(candidates, self._critic.q, self._critic_params, inverse_temperature)
            if candidates > 1
            else None,
        )


def load_policy(workdir: str | Path, step: int | None = None) -> LoadedPolicy:
    """Loads the policies of a run from its last checkpoint; damaged ones are named in a warning and passed over.

    Args:
      workdir: the run's directory, which may be training.
      step: which of the kept checkpoints instead: the last two, and the one with the best evaluation score.

    Raises:
      FileNotFoundError: where there is no sound checkpoint, or not this one.
      ValueError: where another version wrote it in another layout, or it is not what a run writes.
      DamagedCheckpoint: where `step` is damaged.
    """
    directory = Path(workdir) / "checkpoints"
    if not directory.is_dir():
        raise FileNotFoundError(f"{directory} does not exist; is {workdir} the --workdir of a run?")
    checkpoints = Checkpoints(directory, read_only=True)
    try:
        steps = checkpoints.steps()
        if not steps:
            raise FileNotFoundError(f"{directory} holds no finished checkpoint yet")

        def read(step: int) -> LoadedPolicy:
            try:
                return LoadedPolicy(checkpoints.about(step), checkpoints, step)
            except DamagedCheckpoint:
                raise
            except Exception as error:  # of every kind, where `about` is not what a run wrote
                raise ValueError(f"{directory / str(step)} cannot be loaded: {error}") from error

        if step is not None:
            if step not in steps:
                raise FileNotFoundError(f"{directory} holds no step {step}; there are {', '.join(map(str, steps))}")
            return read(step)
        found = checkpoints.newest(
            read, lambda _, error: warnings.warn(f"passing over a damaged checkpoint: {error}", stacklevel=4)
        )
        if found is None:
            raise FileNotFoundError(f"{directory} holds no sound checkpoint; start the run's command again")
        return found[1]
    finally:
        checkpoints.close()
