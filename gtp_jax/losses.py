"""Losses for other codebases: plain callables and arrays in, un-reduced arrays out. An example around any network:

import jax, gtp_jax.losses as losses

def loss(params, key, obs, action):
    key_times, key_noise = jax.random.split(key)
    times = losses.adjacent_times(key_times, action.shape[:1], losses.Schedule(), 80, zero_share=0.3)
    velocity = losses.edm_velocity(lambda x, t, s: my_network(params, obs, x, t, s), sigma_data=0.35)
    z = jax.random.normal(key_noise, action.shape)
    terms = losses.trajectory_losses(velocity, velocity, action, z, times)
    return (losses.balanced_weight(times.t, 0.35) * terms.consistency + terms.flow).mean()
"""

from gtp_jax.agent.guidance import (
    advantage_weights,
    anchor_loss,
    effective_sample_share,
    exponential_weights,
    filter_weights,
    moving_filter_weights,
    normalised_q_loss,
    unnormalised_weights,
)
from gtp_jax.critics._losses import expectile_loss, td_loss
from gtp_jax.flow.map import denoising_loss, edm_velocity, edm_weight, field_loss, follow, jump
from gtp_jax.flow.paths import LINEAR, VARIANCE_EXPLODING, Path
from gtp_jax.flow.times import (
    Schedule,
    Times,
    adjacent_times,
    angular_times,
    balanced_weight,
    curriculum,
    log_normal_times,
)
from gtp_jax.policies.consistency import consistency_loss, renoising_sampler
from gtp_jax.policies.ctm import soft_consistency_loss
from gtp_jax.policies.gaussian import negative_log_likelihood
from gtp_jax.policies.gtp import TrajectoryLosses, trajectory_losses
from gtp_jax.policies.mean_flow import mean_flow_loss, ordered_times
from gtp_jax.policies.shortcut import dyadic_times, self_consistency_loss
from gtp_jax.policies.vp_diffusion import Chain, noise_prediction_loss, variance_preserving_chain
from gtp_jax.types import Velocity

__all__ = ["LINEAR", "VARIANCE_EXPLODING", "Path", "Schedule", "Times", "Velocity", "adjacent_times", "curriculum"]
__all__ += ["denoising_loss", "dyadic_times", "edm_velocity", "edm_weight", "field_loss", "log_normal_times"]
__all__ += ["angular_times", "balanced_weight", "follow", "jump"]
__all__ += ["TrajectoryLosses", "consistency_loss", "mean_flow_loss", "ordered_times", "renoising_sampler"]
__all__ += ["self_consistency_loss", "soft_consistency_loss", "trajectory_losses"]
__all__ += ["Chain", "negative_log_likelihood", "noise_prediction_loss", "variance_preserving_chain"]
__all__ += ["advantage_weights", "effective_sample_share", "exponential_weights", "expectile_loss", "filter_weights"]
__all__ += ["anchor_loss", "moving_filter_weights", "normalised_q_loss", "td_loss", "unnormalised_weights"]
