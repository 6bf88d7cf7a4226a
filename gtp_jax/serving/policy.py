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
from jax.core import Tracer

from gtp_jax.agent.acting import BestOf, acting
from gtp_jax.agent.build import build_critic, build_policy
from gtp_jax.agent.update import draw
from gtp_jax.config import trials
from gtp_jax.config.settings import describe, is_cloning
from gtp_jax.datasets import Observer
from gtp_jax.declare import COUNT
from gtp_jax.files import user_path
from gtp_jax.names import counted
from gtp_jax.parallel import hosts
from gtp_jax.parallel.compiler import acting_options
from gtp_jax.runs.checkpoints import Checkpoints, DamagedCheckpoint, RunInfo, Saved
from gtp_jax.serving.arguments import is_forked, one_key, refuse_forked, refuse_traced, whole
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
        how = (self.settings, self.action_low, self.action_high, info.layout)
        self._policy, self._critic = build_policy(*how), None if is_cloning(self.settings) else build_critic(*how)
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
        self._params_of = functools.cache(self._parameters)

    def __repr__(self) -> str:
        return f"LoadedPolicy({describe(self.settings)}; {self.step:,} updates, {counted(len(self.trials), 'trial')})"

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle and copy: what a checkpoint holds, JSON and NumPy arrays."""
        saved = jax.tree.map(np.asarray, Saved(self.params, self._critic_params, training=None))
        return _unpickled, (self.info.to_json(), self.step, saved)

    def params_of(self, trial: int) -> Params:
        """The averaged parameters of one trial, for `act`. Raises ValueError where there is none or it diverged."""
        return self._params_of(self._number(trial))

    def _number(self, trial: int) -> int:
        number = whole(trial)
        if number is None or number not in range(len(self.trials)):
            there = f"{counted(len(self.trials), 'trial')}, counted from 0 (seeds {', '.join(map(str, self.seeds))})"
            raise ValueError(f"trial = {trial!r:.100}: this run has {there}; policy(obs, trial=None) acts by each")
        return number

    def _parameters(self, trial: int) -> Params:
        with jax.ensure_compile_time_eval():  # also where a caller is traced, since they are kept
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

    def resolve(self, num_steps: int | None, temperature: Array | float | None) -> tuple[int, Array | float]:
        """The run's own K and temperature in place of None; ValueError, naming the argument, for an impossible one."""
        own = self.settings.policy
        steps = own.num_steps if num_steps is None else whole(num_steps)
        if steps is None or steps not in COUNT:
            raise ValueError(f"num_steps = {num_steps!r:.100} must be a whole number {COUNT} (static under jit)")
        if temperature is None or isinstance(temperature, Tracer):
            return steps, own.temperature if temperature is None else temperature
        number = np.asarray(temperature)
        if number.ndim or number.dtype.kind not in "iuf" or not 0 <= number < math.inf:
            raise ValueError(f"temperature = {temperature!r:.100} must be at least 0 and finite")
        return steps, float(number)

    def act(
        self,
        params: Params,
        key: Key,
        obs: Any,
        num_steps: int | None = None,
        temperature: Array | float | None = None,
    ) -> Array:
        """Returns an action inside the bounds for each observation, [*B, A]: pure, for jit, vmap, grad and scan.

        The same as a call with this key, up to rounding. Observations that are not finite are not refused.

        Args:
          params: of one trial, `policy.params_of(trial)`; `policy.params` holds those of all S trials, to vmap over.
          key: of the action's noise.
          obs: an environment's observation, an array or a dict of arrays, with any leading axes.
          num_steps: K, not traced; the run's own by default.
          temperature: scale of the first draw; the run's own by default.

        Raises:
          ValueError: for an observation of another form than the policy was trained on, and impossible arguments.
        """
        num_steps, temperature = self.resolve(num_steps, temperature)
        own = [leaf.shape[1:] for leaf in jax.tree.leaves(self.params)]
        if own != [np.shape(leaf) for leaf in jax.tree.leaves(params)]:
            raise ValueError("params must be one trial's: policy.params_of(trial), or policy.params under jax.vmap")
        return self.sampling(params, one_key(key), self.observe(obs, jnp), num_steps, temperature)

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

        The noise of observation i, counted over all leading axes, depends on the key and i alone (in JAX's default
        random numbers). Batches are padded to the next power of two, so that all sizes up to n take 1 + ceil(log2(n))
        programs, which are compiled at their first use, for each K; with trial=None as many again.

        Args:
          obs: an environment's observation, an array (NumPy's or JAX's) or a dict of arrays, with any leading axes.
          key: of the action's noise; by default always the same one, so that equal batches get equal actions.
          num_steps: K; the run's own by default.
          temperature: scale of the first draw; the run's own by default. 0 is deterministic.
          trial: which of the run's trials acts; without a sweep these are its seeds. None is each, on the same noise.

        Raises:
          ValueError: for an observation of another form than the policy was trained on or that is not finite, for a
            trial whose parameters are not finite, for impossible arguments, and where it is traced (see `act`).
          RuntimeError: in a process that was forked.
        """
        refuse_forked()
        sample, params = (self._sample_all, self.params) if trial is None else (self._sample, self.params_of(trial))
        key, (steps, scale) = self._key if key is None else one_key(key), self.resolve(num_steps, temperature)
        if isinstance(obs, tuple):
            raise ValueError("obs is a tuple; of an environment's reset() or step(), pass the observation alone")
        refuse_traced(obs, key, scale)
        with np.errstate(over="ignore"):  # which is refused below
            seen = self.observe(obs)
        if not np.isfinite(seen).all():
            index = tuple(map(int, np.argwhere(~np.isfinite(seen))[0]))
            where = f"number {index[-1]} of the flat observation at {index[:-1]}"
            raise ValueError(f"obs is not finite: {where} is {seen[index]}")
        *shape, size = seen.shape
        count = math.prod(shape)
        rows = seen.reshape(count, size)
        padded = 1 << max(count - 1, 0).bit_length()
        if padded != count:
            rows = np.concatenate([rows, np.zeros((padded - count, size), np.float32)])
        with jax.ensure_compile_time_eval():  # of constants within jit as well
            actions = np.array(sample(params, key, rows if padded > 1 else rows[0], steps, scale))  # writable
        every = () if trial is not None else (len(self.trials),)
        return actions.reshape(*every, padded, -1)[..., :count, :].reshape(*every, *shape, len(self.action_low))

    def estimate_values(self, batch: Batch, *, key: Key | None = None, trial: int = 0) -> ValueEstimate:
        """The averaged critic's estimates for transitions [B, ...], observations as the policy sees them.

        Raises ValueError where no critic was trained.
        """
        if self._critic is None:
            raise ValueError("this run cloned and has no critic; train one with guidance")
        trial, own = self._number(trial), trials.hyperparameters(self.settings, self.trials)
        hparams = {name: jnp.float32(values[trial]) for name, values in own.items()}
        params, critic_params = jax.tree.map(lambda leaf: leaf[trial], (self.params, self._critic_params))
        return self._estimate(params, critic_params, self._key if key is None else one_key(key), batch, hparams)

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


def _hint(error: Exception) -> str:
    outside = "; a class from outside the package is registered first: gtp_jax.policies.register(NAME, module)"
    return outside if str(error).startswith("policy.name = ") else ""


def _unpickled(info: dict[str, Any], step: int, saved: Saved) -> LoadedPolicy:
    """What `LoadedPolicy.__reduce__` took apart."""
    if is_forked():  # it raises once it is called, since a pool whose process cannot read a task waits for ever
        return LoadedPolicy.__new__(LoadedPolicy)
    try:
        return LoadedPolicy(RunInfo.from_json(info), step, lambda _: saved)
    except ValueError as error:
        raise ValueError(f"the policy cannot be unpickled: {error}{_hint(error)}") from error


def load_policy(directory: str | Path, step: int | None = None) -> LoadedPolicy:
    """Loads the policies of a run from its last checkpoint; damaged ones are named in a warning and passed over.

    The run may be training. `step` is another of the kept checkpoints: the last two and the one with the best score.

    Raises:
      FileNotFoundError: where there is no sound checkpoint, or not this one.
      ValueError: where another version wrote it in another layout, or it is not what a run writes.
      DamagedCheckpoint: where `step` is damaged.
    """
    refuse_forked()
    folder = user_path(directory) / "checkpoints"
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} does not exist; is {directory} the directory of a run?")

    hosts.check_devices()

    def read(step: int) -> LoadedPolicy:
        try:
            info = checkpoints.info(step)._replace(unwritten=None)  # which is the run's business
            return LoadedPolicy(info, step, functools.partial(checkpoints.restore, step))
        except DamagedCheckpoint:
            raise
        except Exception as error:  # of every kind, where the info is not what a run wrote
            raise ValueError(f"{folder / str(step)} cannot be loaded: {error}{_hint(error)}") from error

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
