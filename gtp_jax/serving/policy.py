"""Trained policies that act on an environment's observations."""

import contextlib
import functools
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gtp_jax.agent.acting import BestOf, acting
from gtp_jax.agent.build import build_critic, build_policy
from gtp_jax.agent.update import draw
from gtp_jax.config import trials
from gtp_jax.config.settings import describe, is_cloning
from gtp_jax.datasets import Observer
from gtp_jax.parallel import hosts
from gtp_jax.parallel.compiler import acting_options
from gtp_jax.runs.checkpoints import Checkpoints, DamagedCheckpoint, RunInfo, Saved
from gtp_jax.types import Array, Batch, HParams, Key, Params, ValueEstimate


class LoadedPolicy:
    """The averaged policies of a run's S trials, ready to act on raw environment observations."""

    def __init__(self, info: RunInfo, step: int, read: Callable[[Saved], Saved]):
        """Builds policy and critic, which `load_policy` and `train` do; `step` is the number of updates done.

        `read` maps pytrees of the expected shapes to arrays, the averaged parameters of policy and critic [S, ...].
        """
        self.info, self.step, self.settings, self.trials = info, step, info.settings, info.trials
        self.seeds = tuple(trial.seed for trial in info.trials)
        self.observe = Observer.from_spec(info.observer)
        self.action_low, self.action_high = (np.asarray(b, np.float32) for b in (info.action_low, info.action_high))
        self._policy = build_policy(self.settings, self.action_low, self.action_high, info.layout)
        self._critic = None if is_cloning(self.settings) else build_critic(self.settings, info.layout)
        obs, action = jnp.zeros((1, len(self.observe.mean))), jnp.zeros((1, len(self.action_low)))
        example = Batch(obs=obs, action=action, reward=jnp.zeros(1), discount=jnp.zeros(1), next_obs=obs)

        def init(key: Key) -> Saved:
            critic = self._critic.init(key, example) if self._critic else None
            return Saved(self._policy.init(key, example), critic, training=None)

        saved = read(jax.eval_shape(jax.vmap(init), jax.random.split(jax.random.key(0), len(self.trials))))
        self.params, self._critic_params = jax.device_put((saved.policy, saved.critic))
        compiled = functools.partial(jax.jit, static_argnums=3, compiler_options=acting_options(jax.devices()[0]))
        self._sample = compiled(self.sampling)
        self._sample_all = compiled(jax.vmap(self.sampling, in_axes=(0, None, None, None, None)))
        self._estimate = jax.jit(self._value_estimate)
        self._key = jax.random.key(0)
        # Taking a trial's parameters out of all costs more than a sample: done once for each that acts.
        self.params_of = functools.cache(self._parameters)

    def __repr__(self) -> str:
        return f"LoadedPolicy({describe(self.settings)}; {self.step:,} updates, {len(self.trials)} trials)"

    def _parameters(self, trial: int) -> Params:
        params = jax.tree.map(lambda leaf: leaf[trial], self.params)
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
            name = trials.name_values(self.trials[trial].label())
            why = "diverged in training, its parameters are not finite"
            raise ValueError(f"trial = {trial}: {name} {why}; choose another trial")
        return params

    def sampling(self, params: Params, key: Key, obs: Array, num_steps: int, temperature: Array | float = 1.0) -> Array:
        """Actions [*B, A] of one trial's parameters at observations [*B, O] as the policy sees them; to be compiled."""
        # In the precision of the run, which JAX's own default need not be.
        with jax.default_matmul_precision(self.settings.matmul_precision):
            return self._policy.sample(params, key, obs, num_steps, temperature)

    def resolve(self, num_steps: int | None, temperature: float | None, trial: int | None) -> tuple[int, float]:
        """The run's own K and temperature in place of None; ValueError, naming the argument, for an impossible one."""
        own = self.settings.policy
        num_steps = own.num_steps if num_steps is None else num_steps
        temperature = own.temperature if temperature is None else temperature
        if not isinstance(num_steps, int | np.integer) or num_steps < 1:
            raise ValueError(f"num_steps = {num_steps!r} must be a whole number from 1")
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature = {temperature!r} must be at least 0 and finite")
        if trial is not None and trial not in range(len(self.trials)):
            there = f"{len(self.trials)} trials, counted from 0 (seeds {', '.join(map(str, self.seeds))})"
            raise ValueError(f"trial = {trial!r}: this run has {there}; None is all of them")
        return int(num_steps), float(temperature)

    def __call__(
        self,
        obs: Any,
        *,
        key: Key | None = None,
        num_steps: int | None = None,
        temperature: float | None = None,
        trial: int | None = 0,
    ) -> np.ndarray:
        """Returns an action inside the bounds for each observation, [*B, A]; with trial=None [S, *B, A].

        Args:
          obs: an environment's observation, an array (NumPy's or JAX's) or a dict of arrays, with any leading axes.
          key: of the action's noise; by default always the same one, so that equal observations get equal actions.
          num_steps: K; the run's own by default.
          temperature: scale of the first draw; the run's own by default. 0 is deterministic.
          trial: which of the run's trials acts; without a sweep these are its seeds. None is each, on the same noise.

        Raises:
          ValueError: for an observation of another form than the policy was trained on or that is not finite, for a
            trial whose parameters are not finite, and for impossible arguments.
        """
        num_steps, temperature = self.resolve(num_steps, temperature, trial)
        if isinstance(obs, tuple):
            raise ValueError("obs is a tuple; of an environment's reset() or step(), pass the observation alone")
        seen = self.observe(obs)
        if not np.isfinite(seen).all():
            index = tuple(map(int, np.argwhere(~np.isfinite(seen))[0]))
            where = f"number {index[-1]} of the flat observation at {index[:-1]}"
            raise ValueError(f"obs is not finite: {where} is {seen[index]}")
        sample, params = (self._sample_all, self.params) if trial is None else (self._sample, self.params_of(trial))
        return np.array(sample(params, self._key if key is None else key, seen, num_steps, temperature))  # writable

    def estimate_values(self, batch: Batch, *, key: Key | None = None, trial: int = 0) -> ValueEstimate:
        """The averaged critic's estimates for transitions [B, ...], observations as the policy sees them.

        Raises ValueError where no critic was trained.
        """
        if self._critic is None:
            raise ValueError("this run cloned and has no critic; train one with guidance")
        own = trials.hyperparameters(self.settings, self.trials)
        hparams = {name: jnp.float32(values[trial]) for name, values in own.items()}
        params, critic_params = jax.tree.map(lambda leaf: leaf[trial], (self.params, self._critic_params))
        return self._estimate(params, critic_params, self._key if key is None else key, batch, hparams)

    def _value_estimate(
        self, params: Params, critic_params: Params, key: Key, batch: Batch, hparams: HParams
    ) -> ValueEstimate:
        critic, num_steps = self._critic, self.settings.critic.num_steps
        assert critic is not None
        with jax.default_matmul_precision(self.settings.matmul_precision):
            drawn = draw(self._policy, params, key, batch, critic.next_samples, critic.baseline_samples, num_steps)
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
        """All trials' policies as the one function that an evaluation calls; see `agent.acting.acting`.

        Raises ValueError for several candidates where no critic was trained that could choose.
        """
        best = None
        if candidates > 1:
            if self._critic is None:
                raise ValueError(f"candidates = {candidates}: this run cloned and has no critic to choose by; use 1")
            if self._critic.q is None:
                name = self.settings.critic.name
                raise ValueError(f"candidates = {candidates}: critic.name = {name!r} values states, not actions; use 1")
            best = BestOf(candidates, self._critic.q, self._critic_params, inverse_temperature)
        return acting(
            self.sampling,
            self.params,
            self.seeds,
            num_steps=num_steps,
            temperature=temperature,
            noise_seed=noise_seed,
            best=best,
        )


def load_policy(directory: str | Path, step: int | None = None) -> LoadedPolicy:
    """Loads the policies of a run from its last checkpoint; damaged ones are named in a warning and passed over.

    The run may be training. `step` is another of the kept checkpoints: the last two and the one with the best score.

    Raises:
      FileNotFoundError: where there is no sound checkpoint, or not this one.
      ValueError: where another version wrote it in another layout, or it is not what a run writes.
      DamagedCheckpoint: where `step` is damaged.
    """
    folder = Path(directory).expanduser() / "checkpoints"
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} does not exist; is {directory} the directory of a run?")

    hosts.check_devices()

    def read(step: int) -> LoadedPolicy:
        try:
            return LoadedPolicy(checkpoints.info(step), step, functools.partial(checkpoints.restore, step))
        except DamagedCheckpoint:
            raise
        except Exception as error:  # of every kind, where the info is not what a run wrote
            hint = "; a class from outside the package is registered first: gtp_jax.policies.register(NAME, module)"
            hint = hint if str(error).startswith("policy.name = ") else ""
            raise ValueError(f"{folder / str(step)} cannot be loaded: {error}{hint}") from error

    def passed_over(_: int, error: DamagedCheckpoint) -> None:
        warnings.warn(f"passing over a damaged checkpoint: {error}", stacklevel=4)

    with contextlib.closing(Checkpoints(folder, read_only=True)) as checkpoints:
        steps = checkpoints.steps()
        if not steps:
            raise FileNotFoundError(f"{folder} holds no finished checkpoint yet")
        if step is not None and step not in steps:
            raise FileNotFoundError(f"{folder} holds no step {step}; there are {', '.join(map(str, steps))}")
        found = (step, read(step)) if step is not None else checkpoints.newest(read, passed_over)
        if found is None:
            raise FileNotFoundError(f"{folder} holds no sound checkpoint; start the run's command again")
        return found[1]
