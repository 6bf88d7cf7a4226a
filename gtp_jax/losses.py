"""Losses for other codebases: plain callables and arrays in, un-reduced arrays out. An example around any network:

import jax, gtp_jax.losses as losses

def loss(params, key, obs, action):
    key_times, key_noise = jax.random.split(key)
    times = losses.adjacent_times(key_times, action.shape[:1], losses.Schedule(), 80)
    velocity = losses.edm_velocity(lambda x, t, s: my_network(params, obs, x, t, s), sigma_data=0.5)
    z = jax.random.normal(key_noise, action.shape)
    terms = losses.trajectory_losses(velocity, velocity, action, z, times)
    return (terms.consistency + terms.flow).mean()
"""

from gtp_jax.flow_map import Schedule as Schedule
from gtp_jax.flow_map import Times as Times
from gtp_jax.flow_map import adjacent_times as adjacent_times
from gtp_jax.flow_map import curriculum as curriculum
from gtp_jax.flow_map import edm_velocity as edm_velocity
from gtp_jax.flow_map import field_loss as field_loss
from gtp_jax.guidance import advantage_weights as advantage_weights
from gtp_jax.policies.consistency import consistency_loss as consistency_loss
from gtp_jax.policies.ctm import soft_consistency_loss as soft_consistency_loss
from gtp_jax.policies.gtp import TrajectoryLosses as TrajectoryLosses
from gtp_jax.policies.gtp import trajectory_losses as trajectory_losses
from gtp_jax.policies.mean_flow import mean_flow_loss as mean_flow_loss
from gtp_jax.policies.shortcut import self_consistency_loss as self_consistency_loss
from gtp_jax.value_losses import expectile_loss as expectile_loss
from gtp_jax.value_losses import td_loss as td_loss
