"""Paths between data and noise: end points, derivatives, shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gtp_jax.flow.paths import LINEAR, VARIANCE_EXPLODING, conditional_velocity, expand, interpolate

PATHS = pytest.mark.parametrize("path", [VARIANCE_EXPLODING, LINEAR], ids=["variance-exploding", "linear"])


def points():
    return jax.random.normal(jax.random.key(0), (2, 5, 3))  # x and z


@PATHS
def test_time_zero_is_the_data(path):
    x, z = points()
    np.testing.assert_array_equal(interpolate(path, x, z, jnp.zeros(5)), x)


def test_time_one_of_the_linear_path_is_the_noise():
    x, z = points()
    np.testing.assert_array_equal(interpolate(LINEAR, x, z, jnp.ones(5)), z)


@PATHS
def test_velocity_is_the_derivative_of_the_point(path):
    x, z = points()
    t = jnp.linspace(0.0, 0.9, 5)
    _, derivative = jax.jvp(lambda t: interpolate(path, x, z, t), (t,), (jnp.ones(5),))
    np.testing.assert_allclose(conditional_velocity(path, x, z, t), derivative, rtol=1e-6)


def test_score_approximation():
    """The field anchored to the data point, (x_t - x)/t, is solved by the same noise at every time (eq. 11)."""
    x, z = points()
    t = jnp.linspace(0.1, 80.0, 5)
    x_t = interpolate(VARIANCE_EXPLODING, x, z, t)
    np.testing.assert_allclose((x_t - x) / t[:, None], conditional_velocity(VARIANCE_EXPLODING, x, z, t), rtol=1e-4)


def test_every_event_axis_sees_its_own_examples_time():
    x, z = jax.random.normal(jax.random.key(0), (2, 5, 4, 3))
    t = jnp.arange(5.0)
    whole = interpolate(VARIANCE_EXPLODING, x, z, t)
    for i in range(5):
        np.testing.assert_array_equal(whole[i], x[i] + t[i] * z[i])


def test_expand():
    assert expand(jnp.ones(5), jnp.ones((5, 4, 3))).shape == (5, 1, 1)
    assert expand(jnp.ones(()), jnp.ones(3)).shape == (1,)
    with pytest.raises(ValueError, match=r"time of shape \(5, 3\).*x of shape \(5,\)"):
        expand(jnp.ones((5, 3)), jnp.ones(5))
