"""One agent for every policy, critic and guidance: a fused, pure update."""

import jax
import jax.numpy as jnp
import optax

from gtp_jax.agent.guidance import anchor_loss, label_conditioned, moving_filter_weights
from gtp_jax.types import Agent, Array, Batch, Critic, Guidance, HParams, Key, Metrics, Params, Policy, State


def draw(
    policy: Policy, params: Params, key: Key, batch: Batch, next_samples: int, baseline_samples: int, num_steps: int
) -> tuple[Array, Array]:
    """Draws the policy samples that a critic needs, in one chain: at next_obs and at obs, each [samples, B, A]."""
    if next_samples + baseline_samples == 0:
        none = jnp.zeros((0, *batch.action.shape))
        return none, none
    shape = batch.obs.shape
    at = [
        jnp.broadcast_to(batch.next_obs, (next_samples, *shape)),
        jnp.broadcast_to(batch.obs, (baseline_samples, *shape)),
    ]
    actions = policy.sample(params, key, jnp.concatenate(at), num_steps)
    return actions[:next_samples], actions[next_samples:]


def make_agent(
    policy: Policy,
    critic: Critic | None,
    guidance: Guidance,
    *,
    num_steps: int,
    relative: bool = False,
    anchor: float = 0.0,
    anchor_steps: int = 4,
    filter_temperature: float = 0.0,
    decay_updates: int = 0,
    max_grad_norm: float = 10.0,
) -> Agent:
    """Composes a policy, a critic and a guidance into one update.

    Policy and critic follow Adam on gradients clipped by their global norm; their learning rates and the rates of
    their exponential averages are hyperparameters of the state. The averages act, serve as the target policy and
    bootstrap the critic.

    Args:
      policy: the policy class.
      critic: the critic; None if and only if the guidance needs none.
      guidance: how the critic shapes the policy; with a label, `policy` is made for observations with one number more.
      num_steps: sampling steps K of the actions that the critic bootstraps from and compares with.
      relative: whether a Q term is multiplied by the mean of the policy's loss, without its gradient. That loss grows
        with the variance of the data's actions, so the trade between values and distance is one of a KL divergence.
      anchor: coefficient of `anchor_loss` beside a Q term; 0 leaves it out.
      anchor_steps: sampling steps of the action that it holds to.
      filter_temperature: of `moving_filter_weights` on the policy's loss beside a Q term; 0 leaves them out.
      decay_updates: updates over which the policy's learning rate falls to 0 along a half cosine; 0 keeps it constant.
      max_grad_norm: global norm at which gradients are clipped.

    Raises:
      ValueError: for guidance without the critic it needs, or a critic that would guide nothing.
    """
    if guidance.needs_critic != (critic is not None):
        raise ValueError(
            "this guidance needs a critic, and there is none" if critic is None else "this critic would guide nothing"
        )
    q = critic.q if critic else None
    if guidance.improve and q is None:
        raise ValueError("this guidance asks for the value of sampled actions, and this critic values states alone")
    if guidance.label:
        policy = label_conditioned(policy)
    transform = optax.chain(optax.clip_by_global_norm(max_grad_norm), optax.scale_by_adam())

    def init(key: Key, batch: Batch, hparams: HParams) -> State:
        key_policy, key_critic, key_updates = jax.random.split(key, 3)
        policy_params = policy.init(key_policy, batch)
        critic_params = critic.init(key_critic, batch) if critic else ()

        def copy(tree):
            return jax.tree.map(jnp.copy, tree)

        return State(
            policy=policy_params,
            policy_ema=copy(policy_params),
            critic=critic_params,
            critic_ema=copy(critic_params),
            policy_opt=transform.init(policy_params),
            critic_opt=transform.init(critic_params),
            hparams=dict(hparams),
            key=key_updates,
            step=jnp.zeros((), jnp.int32),
        )

    def descend(
        grads: Params, params: Params, opt: optax.OptState, learning_rate: Array
    ) -> tuple[Params, optax.OptState]:
        updates, opt = transform.update(grads, opt)
        return optax.apply_updates(params, jax.tree.map(lambda u: -learning_rate * u, updates)), opt

    def policy_learning_rate(state: State) -> Array:
        if not decay_updates:
            return state.hparams["policy_lr"]
        progress = jnp.minimum(state.step / decay_updates, 1.0)
        return state.hparams["policy_lr"] * 0.5 * (1.0 + jnp.cos(jnp.pi * progress))

    def update_critic(critic: Critic, state: State, key: Key, batch: Batch) -> tuple[State, Array, Metrics]:
        samples = critic.baseline_samples * guidance.needs_advantage
        drawn = draw(policy, state.policy_ema, key, batch, critic.next_samples, samples, num_steps)
        estimate = critic.evaluate(state.critic, state.critic_ema, batch, *drawn, state.hparams)
        estimate = jax.lax.stop_gradient(estimate)

        def loss(params):
            per_example, metrics = critic.loss(params, state.critic_ema, batch, estimate.next_value, state.hparams)
            return jnp.mean(per_example), metrics

        grads, metrics = jax.grad(loss, has_aux=True)(state.critic)
        params, opt = descend(grads, state.critic, state.critic_opt, state.hparams["critic_lr"])
        ema = optax.incremental_update(params, state.critic_ema, state.hparams["critic_ema"])
        return state._replace(critic=params, critic_ema=ema, critic_opt=opt), estimate.advantage, metrics

    def policy_objective(
        params: Params, state: State, key_loss: Key, key_improve: Key, batch: Batch, weights: Array
    ) -> tuple[Array, Metrics]:
        per_example, metrics = policy.loss(params, state.policy_ema, key_loss, batch, state.hparams, state.step)
        per_example = weights * per_example
        if guidance.improve and q:
            key_sample, key_roles = jax.random.split(key_improve)
            obs = jnp.asarray(batch.obs)
            action = policy.sample(params, key_sample, obs, num_steps)
            q_own = q(state.critic, obs, action)
            if filter_temperature:
                kept = moving_filter_weights(q(state.critic, obs, batch.action), q_own, filter_temperature)
                per_example = kept * per_example
                metrics = metrics | {"guidance/filter": jnp.mean(kept)}
            extra, extra_metrics = guidance.improve(key_roles, q_own, state.hparams)
            unit = jax.lax.stop_gradient(jnp.mean(per_example)) if relative else 1.0
            # Published coefficients weigh it against a loss that is a mean over the action's numbers; ours is a sum.
            per_example = per_example + batch.action.shape[-1] * unit * extra
            metrics = metrics | extra_metrics
            if anchor:
                held = anchor_loss(action, policy.sample(state.policy_ema, key_sample, obs, anchor_steps))
                per_example = per_example + anchor * held
                metrics = metrics | {"guidance/anchor_loss": jnp.mean(held)}
        return jnp.mean(per_example), metrics

    def update(state: State, batch: Batch) -> tuple[State, Metrics]:
        # fold_in(key, i) is one of split(key)'s keys: below the step's own key there is only splitting.
        key_policy, key_samples, key_improve = jax.random.split(jax.random.fold_in(state.key, state.step), 3)
        advantage, critic_metrics = jnp.zeros_like(batch.reward), {}
        if critic:
            state, advantage, critic_metrics = update_critic(critic, state, key_samples, batch)
        weights, guidance_metrics = guidance.weigh(advantage, state.hparams)
        if guidance.label:
            label = guidance.label(advantage)
            batch = batch._replace(label=label)
            guidance_metrics = guidance_metrics | {"guidance/optimal_share": jnp.mean(label > 0)}
        descend_on = jax.value_and_grad(policy_objective, has_aux=True)
        (value, policy_metrics), grads = descend_on(state.policy, state, key_policy, key_improve, batch, weights)
        params, opt = descend(grads, state.policy, state.policy_opt, policy_learning_rate(state))
        ema = optax.incremental_update(params, state.policy_ema, state.hparams["policy_ema"])
        state = state._replace(policy=params, policy_ema=ema, policy_opt=opt, step=state.step + 1)
        return state, {"policy/loss": value} | policy_metrics | critic_metrics | guidance_metrics

    return Agent(init=init, update=update, act=policy.sample)
