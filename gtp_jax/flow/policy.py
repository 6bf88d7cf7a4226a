"""What the policies on a flow share: declared settings, a network read as a velocity, a sampler, clipped actions."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gtp_jax.declare import COEFFICIENT, POSITIVE, Range, check_declared, setting
from gtp_jax.flow import map as flow_map
from gtp_jax.flow.map import Step
from gtp_jax.flow.times import Schedule, angular_times, curriculum, uniform_times
from gtp_jax.types import Array, Batch, FlowApply, HParams, Key, Metrics, Network, Params, Policy, Velocity

INTERVALS = Range(1, 1_000_000)

# Settings that several policies have: the same name is the same declaration.
lambda_flow = functools.partial(setting, 1.0, "Coefficient of the flow loss.", range=COEFFICIENT, hparam="lambda_flow")
solver = functools.partial(
    setting, "euler", "The ODE solver; heun evaluates the network twice a step.", choices=tuple(flow_map.SOLVERS)
)


@dataclasses.dataclass(frozen=True)
class OwnPolicySettings:
    """Base of a policy's own settings: one outside its declaration raises ValueError."""

    def __post_init__(self):
        check_declared(self, "policy.")


@dataclasses.dataclass(frozen=True)
class VarianceExploding(OwnPolicySettings):
    """The settings of the variance-exploding path with the preconditioning of EDM (arXiv 2206.00364)."""

    sigma_min: float = setting(
        0.002, "Smallest time above 0, of training and of a sampler at Karras points.", range=POSITIVE
    )
    sigma_max: float = setting(10.0, "Largest time, where sampling starts.", range=POSITIVE)
    rho: float = setting(7.0, "Curvature of the schedule; larger values place more times near 0.", range=Range(1, 100))
    sigma_data: float = setting(
        0.35,
        "Standard deviation of actions given an observation, which preconditioning, weights and sampling times assume.",
        range=POSITIVE,
        structural=True,
    )
    sampling: str = setting(
        "angles",
        "Times of a K-step sampler: at equal angles atan(t / sigma_data), or K points of the schedule, then 0.",
        choices=("angles", "karras"),
    )

    def __post_init__(self):
        super().__post_init__()
        if self.sigma_min >= self.sigma_max:
            raise ValueError(
                f"policy.sigma_min = {self.sigma_min!r} must be below policy.sigma_max = {self.sigma_max!r}"
            )

    @property
    def schedule(self) -> Schedule:
        """The times of training."""
        return Schedule(self.sigma_min, self.sigma_max, self.rho)

    def sampling_times(self, num_steps: int) -> Array:
        """[K + 1] times of a K-step sampler."""
        if self.sampling == "karras":
            return self.schedule.sampling_times(num_steps)
        return angular_times(num_steps, self.sigma_max, self.sigma_data)

    def velocity(self, network: Callable[[Array, Array, Array], Array]) -> Velocity:
        """Reads a network F(x, t, s) as an average velocity."""
        return flow_map.edm_velocity(network, self.sigma_data)


@dataclasses.dataclass(frozen=True)
class ConsistencySettings(VarianceExploding):
    """The settings of the losses that compare the map at neighbouring times."""

    target: str = setting(
        "online",
        "Whose map the consistency loss follows: that of the online parameters, without gradient, or of their average.",
        choices=("online", "ema"),
    )
    first_intervals: int = setting(
        10, "Intervals of the time grid at the start, doubled in equal stages.", range=INTERVALS
    )
    intervals: int = setting(1280, "Intervals of the time grid at the end.", range=INTERVALS)

    def __post_init__(self):
        super().__post_init__()
        if self.first_intervals > self.intervals:
            first, last = self.first_intervals, self.intervals
            raise ValueError(f"policy.first_intervals = {first!r} must be at most policy.intervals = {last!r}")

    def num_intervals(self, step: Array, curriculum_updates: int) -> Array:
        """The intervals of the grid after so many updates."""
        return curriculum(step, curriculum_updates, self.first_intervals, self.intervals)


def clip_action(action: Array, low: Array, high: Array) -> Array:
    """Clips actions [*B, A] to bounds [A]."""
    return jnp.clip(action, *(jnp.broadcast_to(bound, action.shape) for bound in (low, high)))


class LossInputs(NamedTuple):
    """What the objective of a policy on a flow computes its loss from."""

    velocity: Velocity  # of the parameters that are trained
    online: Velocity  # the same, but no gradient flows to the parameters
    ema: Velocity  # of their exponential average
    key: Key
    action: Array  # [B, A]
    step: Array  # updates done
    hparams: HParams

    def followed(self, target: str) -> Velocity:
        """The velocity that the setting `target` names."""
        return self.online if target == "online" else self.ema


def make(
    network: Network[FlowApply],
    action_low: Array,
    action_high: Array,
    objective: Callable[[LossInputs], tuple[Array, Metrics]],
    parameterise: Callable[[Callable[[Array, Array, Array], Array]], Velocity] = lambda f: f,
    sampling_times: Callable[[int], Array] = uniform_times,
    *,
    step: Step = flow_map.jump,
    sampler: Callable[[Velocity, Key, Array, Array, Array | float], Array] | None = None,
) -> Policy:
    """Builds a policy on a flow from its loss and its sampler.

    Args:
      network: F(obs, x, t, s).
      action_low: [A] lower bounds; only a final sample is clipped to them.
      action_high: [A] upper bounds.
      objective: the un-reduced loss [B] and its metrics.
      parameterise: reads F(x, t, s) as an average velocity; by default F is the velocity.
      sampling_times: K -> [K + 1] times of a K-step sampler, decreasing to 0. The first one is the standard deviation
        of the point that the sampler starts from.
      step: how the sampler goes from one time to the next.
      sampler: (velocity, key, x, times, temperature) -> action, in place of following `step`, for samplers that draw
        noise; the temperature scales all of it.
    """

    def velocity_at(params: Params, obs: Array) -> Velocity:
        return parameterise(lambda x, t, s: network.apply(params, obs, x, t, s))

    def init(key: Key, batch: Batch) -> Params:
        time = jnp.zeros(batch.reward.shape)
        return network.init(key, batch.obs, batch.action, time, time)

    def loss(
        params: Params, target_params: Params, key: Key, batch: Batch, hparams: HParams, step: Array
    ) -> tuple[Array, Metrics]:
        obs, action = jnp.asarray(batch.obs), jnp.asarray(batch.action)
        trained, online, ema = (velocity_at(p, obs) for p in (params, jax.lax.stop_gradient(params), target_params))
        return objective(LossInputs(trained, online, ema, key, action, step, hparams))

    def sample(params: Params, key: Key, obs: Array, num_steps: int, temperature: Array | float = 1.0) -> Array:
        key_prior, key_sampler = jax.random.split(key) if sampler else (key, key)
        noise = jax.random.normal(key_prior, (*obs.shape[:-1], action_low.shape[0]))
        times, velocity = sampling_times(num_steps), velocity_at(params, obs)
        x = temperature * times[0] * noise
        if sampler:
            x = sampler(velocity, key_sampler, x, times, temperature)
        else:
            x = flow_map.follow(velocity, x, times, step=step)
        return clip_action(x, action_low, action_high)

    return Policy(init=init, loss=loss, sample=sample)
