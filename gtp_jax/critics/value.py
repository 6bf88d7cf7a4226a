"""State values alone, with an n-step or Monte Carlo advantage from the data, so that no network has to compare actions.

A(obs, a) = r + gamma V(next_obs) - V(obs), and V is an expectile of r + gamma V(next_obs) over the data (0.5: the mean,
the value of the behaviour policy; higher: nearer to the best outcomes). With n-step transitions (`critic.n_step`) both
span n steps. This is exact for deterministic dynamics, as in AntMaze; else expectiles above 0.5 also prefer luck.
"""

import dataclasses

import jax.numpy as jnp

from gtp_jax.critics._losses import OwnCriticSettings, expectile, expectile_loss
from gtp_jax.declare import setting
from gtp_jax.types import Array, Batch, Critic, HParams, Key, Metrics, Network, Params, ValueApply, ValueEstimate

VALUES_ACTIONS = False
SAMPLES_ACTIONS = False


@dataclasses.dataclass(frozen=True)
class Settings(OwnCriticSettings):
    """The settings of state values. `observation` is for the caller of `make`, who chooses the network's inputs."""

    expectile: float = expectile()
    observation: str = setting(
        "all",
        "What the values are functions of: the whole observation, or the positions of agent and goal without the body.",
        choices=("all", "position"),
        structural=True,
    )


def make(settings: Settings, *, v_network: Network[ValueApply]) -> Critic:
    """Builds the critic."""

    def init(key: Key, batch: Batch) -> Params:
        return v_network.init(key, batch.obs)

    def evaluate(
        params: Params, target_params: Params, batch: Batch, next_actions: Array, actions: Array, hparams: HParams
    ) -> ValueEstimate:
        del params, next_actions, actions
        value, next_value = v_network.apply(target_params, jnp.stack([batch.obs, batch.next_obs]))
        target = jnp.asarray(batch.reward) + hparams["discount"] * batch.discount * next_value
        return ValueEstimate(next_value, target - value)

    def loss(
        params: Params, target_params: Params, batch: Batch, next_value: Array, hparams: HParams
    ) -> tuple[Array, Metrics]:
        del target_params
        value = v_network.apply(params, batch.obs)
        target = jnp.asarray(batch.reward) + hparams["discount"] * batch.discount * next_value
        per_example = expectile_loss(target - value, settings.expectile)
        return per_example, {"critic/loss": jnp.mean(per_example), "critic/value": jnp.mean(value)}

    return Critic(init=init, evaluate=evaluate, loss=loss, q=None, next_samples=0, baseline_samples=0)
