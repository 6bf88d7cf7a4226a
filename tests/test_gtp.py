"""Trajectory consistency and instantaneous flow: exact zeros, orders of bias, gradients, and the policy around them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import gaussian_velocity, point_velocity, random_batch

from gtp_jax.agent.networks import flow_network
from gtp_jax.flow import map as flow_map
from gtp_jax.flow.map import edm_velocity
from gtp_jax.flow.times import Schedule, Times
from gtp_jax.policies import gtp
from gtp_jax.policies.gtp import trajectory_losses

MEAN, STD = 0.3, 0.5


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


# Compiled as a whole: operation by operation, compilation takes most of the tests' time.
losses = jax.jit(trajectory_losses, static_argnums=(0, 1), static_argnames="event_ndim")


def draw(shape=(64, 3), num_intervals=10):
    """Data, noise and times, the times from NumPy."""
    rng = np.random.default_rng(0)
    points = np.append(Schedule().at(np.arange(num_intervals) / num_intervals), 0.0)
    index = rng.integers(num_intervals, size=shape[0])
    last = rng.integers(index + 1, num_intervals + 1)
    times = Times(*(jnp.asarray(points[i]) for i in (index, index + 1, last)))
    return jnp.asarray(0.4 * rng.normal(size=shape)), jnp.asarray(rng.normal(size=shape)), times


def test_equals_a_naive_implementation_example_by_example(x64):
    """One example, one call at a time, straight from eq. 17 and 18."""
    velocity, target = gaussian_velocity(MEAN, STD), gaussian_velocity(-0.1, 0.8)
    x, z, times = draw()
    terms = losses(velocity, target, x, z, times)

    @jax.jit
    def naive(x, z, t, u, tau):
        x_t, x_u = x + t * z, x + u * z
        arrived = x_t + (tau - t) * velocity(x_t, t, tau)
        followed = x_u + (tau - u) * target(x_u, u, tau)
        denoised = x_t - t * velocity(x_t, t, t)
        return ((arrived - followed) ** 2).sum() / (t - u), ((x - denoised) ** 2).sum()

    expected = np.array([naive(x[i], z[i], *(time[i] for time in times)) for i in range(16)])
    np.testing.assert_allclose(np.stack(terms, axis=1)[:16], expected, rtol=1e-10)


def test_both_terms_are_exactly_zero_on_one_point():
    """Where all data are one point the score approximation is the true field. Dyadic numbers keep float32 exact."""
    x, z = jnp.full((6, 2), 0.25), jnp.array([[1.0, -0.5], [2, 3], [0.5, 0.75], [-1, 4], [1, 1], [-2, 0]])
    times = Times(*jnp.array([[64.0, 8, 4, 2, 0.5, 0.25], [16.0, 4, 2, 0.5, 0.25, 0], [4.0, 4, 0, 0.5, 0, 0]]))
    terms = losses(point_velocity(0.25), point_velocity(0.25), x, z, times)
    np.testing.assert_array_equal(terms.consistency, np.zeros(6))
    np.testing.assert_array_equal(terms.flow, np.zeros(6))
    wrong = losses(point_velocity(0.0), point_velocity(0.0), x, z, times)
    assert (wrong.flow > 0).all()


@jax.jit
def expected_gradient(t, u, tau, std=STD):
    """d/dstd E[consistency, flow] over data N(MEAN, STD^2), at a model with deviation `std`; exact quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    a, b = (grid.reshape(-1, 1) for grid in np.meshgrid(nodes, nodes))
    weight = np.outer(weights, weights).reshape(-1) / (2 * np.pi)
    x, z = jnp.asarray(MEAN + STD * a), jnp.asarray(b)
    times = Times(*(jnp.full(len(x), value) for value in (t, u, tau)))

    def expected(std):
        velocity = gaussian_velocity(MEAN, std)
        terms = trajectory_losses(velocity, velocity, x, z, times)
        return weight @ terms.consistency, weight @ terms.flow

    return jax.jacobian(expected)(std)


@pytest.mark.parametrize(("t", "tau"), [(1.0, 0.0), (1.0, 0.3), (0.2, 0.0), (5.0, 1.0)])
def test_the_truth_is_the_minimum_up_to_the_order_of_the_gap(t, tau, x64):
    """On Gaussian data the bias of eq. 17 is O((t - u)^2) for a pair: first order after the factor 1/(t - u)."""
    gaps = t * 0.1 * 0.5 ** np.arange(5)
    bias = [float(expected_gradient(t, t - gap, tau)[0]) for gap in gaps]
    ratios = np.divide(bias[:-1], bias[1:])
    assert abs(ratios[-1] - 2) < 0.03, ratios
    assert abs(ratios[-1] - 2) < abs(ratios[0] - 2)
    # What the bias is small against: the gradient of a model that is wrong by a tenth.
    assert abs(bias[-1]) < 0.1 * abs(expected_gradient(t, t - gaps[-1], tau, 1.1 * STD)[0])


@pytest.mark.parametrize("t", [0.05, 1.0, 80.0])
def test_the_flow_term_has_no_bias(t, x64):
    assert abs(expected_gradient(t, 0.9 * t, 0.0)[1]) < 1e-12
    assert abs(expected_gradient(t, 0.9 * t, 0.0, 1.1 * STD)[1]) > 1e-6


def test_no_gradient_flows_into_the_target():
    x, z, times = draw()

    def total(online, target):
        terms = trajectory_losses(gaussian_velocity(online, STD), gaussian_velocity(target, STD), x, z, times)
        return jnp.sum(terms.consistency + terms.flow)

    gradient = jax.jit(jax.grad(total, argnums=(0, 1)))
    online, target = gradient(0.1, 0.2)
    assert target == 0 and online != 0
    # With itself as its target, the gradient is that of a frozen copy.
    both = jax.jit(jax.grad(lambda mean: total(mean, mean)))(0.1)
    np.testing.assert_allclose(both, gradient(0.1, 0.1)[0], rtol=1e-6)


def test_the_gap_divides_the_consistency_term(x64):
    x, z, _ = draw()
    velocity, target = gaussian_velocity(MEAN, STD), gaussian_velocity(0.0, 1.0)
    t, u = jnp.full(len(x), 1.0), jnp.full(len(x), 0.75)
    terms = losses(velocity, target, x, z, Times(t, u, u))
    arrived = flow_map.jump(velocity, x + z, t, u)  # at tau = u the target is the noised point itself
    np.testing.assert_allclose(terms.consistency, 4 * jnp.sum((arrived - x - 0.75 * z) ** 2, -1), rtol=1e-12)


def test_action_chunks_equal_flat_actions():
    x, z, times = draw((16, 12))
    velocity = gaussian_velocity(MEAN, STD)
    flat = losses(velocity, velocity, x, z, times)
    chunk = losses(velocity, velocity, x.reshape(16, 4, 3), z.reshape(16, 4, 3), times, event_ndim=2)
    assert chunk.consistency.shape == chunk.flow.shape == (16,)
    np.testing.assert_allclose(chunk.consistency, flat.consistency, rtol=2e-5)
    np.testing.assert_allclose(chunk.flow, flat.flow, rtol=2e-5)


def test_more_leading_axes():
    x, z, times = draw((12, 3))
    velocity = gaussian_velocity(MEAN, STD)
    flat = losses(velocity, velocity, x, z, times)
    folded = jax.tree.map(lambda a: a.reshape(3, 4, *a.shape[1:]), (x, z, times))
    terms = losses(velocity, velocity, *folded)
    np.testing.assert_allclose(terms.consistency, flat.consistency.reshape(3, 4), rtol=2e-5)


def test_a_callable_that_knows_of_one_batch_axis_only():
    """What other codebases pass: no extra axes reach it, and its conditioning is closed over."""
    x, z, times = draw()
    obs, matrix = (np.random.default_rng(1).normal(size=size).astype(np.float32) for size in ((64, 5), (10, 3)))

    def velocity(x, t, s):
        assert x.shape == (64, 3) and t.shape == s.shape == (64,)
        return jnp.concatenate([obs, x, t[:, None], s[:, None]], axis=1) @ matrix

    terms = jax.jit(lambda: trajectory_losses(velocity, velocity, x, z, times))()
    naive = flow_map.extrapolate(velocity, x + times.t[:, None] * z, times.t, times.t)
    np.testing.assert_allclose(terms.flow, jnp.sum((x - naive) ** 2, -1), rtol=1e-4)


def test_with_tau_zero_it_is_the_consistency_models_loss(x64):
    """|f(x_t, t) - sg f(x_u, u)|^2/(t - u), f = c_skip x + c_out F as in consistency models (arXiv 2303.01469)."""
    sd = 0.5

    def network(theta):
        return lambda x, t, s: jnp.sin(theta * x) + jnp.log1p(t)[:, None]

    def model(theta, x, t):
        variance = (t**2 + sd**2)[:, None]
        skip, out = sd**2 / variance, sd * t[:, None] / jnp.sqrt(variance)
        return skip * x + out * network(theta)(x / jnp.sqrt(variance), t, 0 * t)

    x, z, times = draw()
    times = times._replace(tau=jnp.zeros_like(times.tau))
    t, u, _ = times

    def ours(theta):
        velocity = edm_velocity(network(theta), sd)
        return trajectory_losses(velocity, velocity, x, z, times).consistency

    def theirs(theta):
        target = jax.lax.stop_gradient(model(theta, x + u[:, None] * z, u))
        return jnp.sum((model(theta, x + t[:, None] * z, t) - target) ** 2, -1) / (t - u)

    one, other = (jax.jit(lambda theta, f=f: jax.jvp(f, (theta,), (1.0,)))(2.0) for f in (ours, theirs))
    np.testing.assert_allclose(one[0], other[0], rtol=1e-8)
    np.testing.assert_allclose(one[1], other[1], rtol=1e-7, atol=1e-9)


# The policy.

LOW, HIGH = jnp.array([-1.0, -0.5]), jnp.array([1.0, 0.25])


def hparams(lambda_flow=1.0, lambda_consistency=1.0):
    return {"lambda_flow": jnp.float32(lambda_flow), "lambda_consistency": jnp.float32(lambda_consistency)}


def policy(**settings):
    """A small policy, compiled."""
    made = gtp.make(
        network=flow_network(2, (8, 8)), action_low=LOW, action_high=HIGH, curriculum_updates=80, **settings
    )
    return made._replace(
        init=jax.jit(made.init), loss=jax.jit(made.loss), sample=jax.jit(made.sample, static_argnums=3)
    )


@pytest.fixture(scope="module")
def batch():
    return jax.tree.map(jnp.asarray, random_batch(32))


@pytest.fixture(scope="module")
def made():
    """The policy with its defaults."""
    return policy()


@pytest.fixture(scope="module")
def params(made, batch):
    return made.init(jax.random.key(0), batch)


def test_the_policys_loss_is_eq_19(made, params, batch):
    key = jax.random.key(1)

    def loss(*coefficients):
        return made.loss(params, params, key, batch, hparams(*coefficients), jnp.int32(0))

    (without, metrics), (with_flow, _), (flow_alone, _) = loss(0.0), loss(2.0), loss(1.0, 0.0)
    assert without.shape == (32,)
    np.testing.assert_allclose(without.mean(), metrics["policy/consistency"], rtol=1e-5)
    np.testing.assert_allclose((with_flow - without).mean() / 2, metrics["policy/flow"], rtol=1e-4)
    np.testing.assert_allclose(flow_alone.mean(), metrics["policy/flow"], rtol=1e-5)
    np.testing.assert_allclose(loss(0.0, 3.0)[0], 3 * without, rtol=1e-5)


def test_the_target_is_the_one_chosen(made, params, batch):
    online, ema = made, policy(target="ema")
    other = made.init(jax.random.key(5), batch)

    def loss(made, target_params):
        return np.asarray(made.loss(params, target_params, jax.random.key(1), batch, hparams(), jnp.int32(0))[0])

    np.testing.assert_array_equal(loss(online, params), loss(online, other))
    np.testing.assert_allclose(loss(online, params), loss(ema, params), rtol=1e-5)
    assert (loss(ema, other) != loss(ema, params)).any()


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="policy.target = 'solver'.*online.*ema"):
        policy(target="solver")
    for name, valid in (("gap", "adjacent, any"), ("tau", "any, zero"), ("teacher", "score, euler, heun")):
        with pytest.raises(ValueError, match=f"policy.{name} = 'none' is not one of {valid}"):
            policy(**{name: "none"})
    with pytest.raises(ValueError, match="policy.flow_times = 'edm' is not one of grid, log-normal"):
        policy(flow_times="edm")
    with pytest.raises(ValueError, match="sigma_min < sigma_max"):
        policy(schedule=Schedule(sigma_min=100.0))


def test_the_loss_is_finite_on_every_grid(made, params, batch):
    """At the finest grid of the curriculum, and from its first step, in float32."""

    @jax.jit
    def gradient(step, key):
        loss = lambda params: made.loss(params, params, key, batch, hparams(), step)[0].mean()
        return jax.value_and_grad(loss)(params)

    for step in (0, 79, 1000):
        for seed in range(8):
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient(step, jax.random.key(seed))))


def test_samples(made, params):
    """Inside the bounds, any leading axes, equal keys give equal actions, deterministic at temperature 0."""
    obs = np.random.default_rng(1).normal(size=(4, 5, 3))
    actions = made.sample(params, jax.random.key(2), obs, 3)
    assert actions.shape == (4, 5, 2)
    actions = np.asarray(actions)
    assert (actions >= np.asarray(LOW)).all() and (actions <= np.asarray(HIGH)).all()
    np.testing.assert_array_equal(actions, made.sample(params, jax.random.key(2), obs, 3))
    assert (actions != np.asarray(made.sample(params, jax.random.key(3), obs, 3))).any()
    cold = [made.sample(params, jax.random.key(seed), obs, 3, 0.0) for seed in (2, 3)]
    np.testing.assert_array_equal(*cold)


def test_the_sampler_follows_the_exact_map_onto_the_data(monkeypatch):
    """With the closed-form map in the network's place, samples have the data's mean and deviation for every K."""
    monkeypatch.setattr(flow_map, "edm_velocity", lambda network, sigma_data: gaussian_velocity(0.1, 0.2))
    made = gtp.make(
        network=flow_network(1), action_low=jnp.array([-9.0]), action_high=jnp.array([9.0]), curriculum_updates=8
    )
    sample = jax.jit(made.sample, static_argnums=3)
    for num_steps in (1, 2, 5):
        actions = np.asarray(sample({}, jax.random.key(0), np.zeros((20_000, 3)), num_steps))
        assert abs(actions.mean() - 0.1) < 0.006 and abs(actions.std() - 0.2) < 0.004
    np.testing.assert_allclose(sample({}, jax.random.key(0), np.zeros((20_000, 3)), 5, 0.0), 0.1, atol=1e-3)
