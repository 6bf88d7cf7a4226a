"""The family's losses: the truth is their minimum on data whose flow map is known, they agree where they must, and
nothing breaks at the ends of the time axis.
"""

import copy
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import (
    gaussian_linear_velocity,
    gaussian_velocity,
    integrate,
    mixture_field,
    posterior_points,
    quadrature_points,
    quick_jit,
    random_batch,
)

from gtp_jax import flow_map, policies, recipes
from gtp_jax.flow_map import Times, edm_velocity, euler_step, field_loss, follow, heun_step, jump
from gtp_jax.paths import LINEAR, VARIANCE_EXPLODING
from gtp_jax.policies import mean_flow, shortcut
from gtp_jax.policies.consistency import consistency_loss
from gtp_jax.policies.ctm import soft_consistency_loss
from gtp_jax.policies.gtp import trajectory_losses
from gtp_jax.policies.mean_flow import mean_flow_loss
from gtp_jax.policies.shortcut import self_consistency_loss
from gtp_jax.settings import DEFAULTS

MEAN, STD = 0.3, 0.5


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


# The truth is the minimum. Each loss as (trained velocity, true one, x, z, t) -> [B].


def at_half(loss):
    """A loss of a jump from t to t/2."""
    return lambda velocity, truth, x, z, t: loss(velocity, truth, x, z, t, 0.5 * t)


def exact_step(velocity, x, t, s):
    return jump(velocity, x, t, s)


def ctm_loss(velocity, truth, x, z, t):
    return soft_consistency_loss(velocity, truth, truth, x, z, Times(t, 0.7 * t, 0.2 * t), step=exact_step)


MEMBERS = {
    "diffusion": (
        VARIANCE_EXPLODING,
        lambda velocity, truth, x, z, t: field_loss(velocity, VARIANCE_EXPLODING, x, z, t),
    ),
    "flow_matching": (LINEAR, lambda velocity, truth, x, z, t: field_loss(velocity, LINEAR, x, z, t)),
    "gtp, flow": (
        VARIANCE_EXPLODING,
        at_half(lambda velocity, truth, x, z, t, s: trajectory_losses(velocity, truth, x, z, Times(t, s, s)).flow),
    ),
    "ctm": (VARIANCE_EXPLODING, ctm_loss),
    "shortcut": (LINEAR, lambda velocity, truth, x, z, t: self_consistency_loss(velocity, truth, x, z, t, 0.3 * t)),
    "mean_flow": (LINEAR, at_half(lambda velocity, truth, x, z, t, s: mean_flow_loss(velocity, x, z, t, s))),
    "mean_flow, s = 0": (
        LINEAR,
        lambda velocity, truth, x, z, t: mean_flow_loss(velocity, x, z, t, jnp.zeros_like(t)),
    ),
}
EVERY_MEMBER = pytest.mark.parametrize("name", MEMBERS)
EVERY_TIME = pytest.mark.parametrize("t", [0.05, 0.6, 1.0])


def truth_on(path, mean=MEAN, std=STD):
    return (gaussian_velocity if path is VARIANCE_EXPLODING else gaussian_linear_velocity)(mean, std)


def perturbed(path, theta):
    """The truth at theta = 0: other data's mean and deviation, an offset, and a slope in x and in s."""

    def velocity(x, t, s):
        truth = truth_on(path, MEAN + theta[0], STD + theta[1])(x, t, s)
        return truth + theta[2] + theta[3] * x + theta[4] * jnp.expand_dims(s, -1)

    return velocity


@functools.partial(quick_jit, static_argnums=0)
def expected_gradient(name, theta, t):
    """d/dtheta E[loss] over x ~ N(MEAN, STD^2) and z ~ N(0, 1); only the trained velocity is differentiated."""
    path, loss = MEMBERS[name]
    x, z, weight = quadrature_points(MEAN, STD)

    def expected(theta):
        return weight @ loss(perturbed(path, theta), truth_on(path), x, z, jnp.full(len(x), t))

    return jax.grad(expected)(theta)


@EVERY_TIME
@EVERY_MEMBER
def test_the_expected_gradient_vanishes_at_the_truth(name, t, x64):
    assert np.abs(expected_gradient(name, jnp.zeros(5), t)).max() < 1e-10
    for i in range(4):
        # The noise of the linear path's t = 1 knows nothing of the data's deviation.
        if i != 1 or t < 1:
            assert np.abs(expected_gradient(name, jnp.zeros(5).at[i].set(0.1), t)).max() > 1e-6, i


@functools.partial(quick_jit, static_argnums=0)
def mean_residual(name, t, wrong):
    """E[residual | x_t] up to a factor, at five x_t: half the gradient of E[loss | x_t] by a constant added at x_t."""
    path, loss = MEMBERS[name]
    x_t = jnp.array([-2.0, -0.4, 0.0, 0.5, 1.7])
    x, z, weight = posterior_points(path, x_t, t, MEAN, STD)  # [5 N, 1], [5 N, 1], [5, N]

    def expected(constant):
        def velocity(x, t, s):
            return truth_on(path, MEAN + wrong)(x, t, s) + jnp.repeat(constant, weight.shape[1])[:, None]

        losses = loss(velocity, truth_on(path), x, z, jnp.full(len(x), t))
        return jnp.sum(weight * losses.reshape(weight.shape))

    return 0.5 * jax.grad(expected)(jnp.zeros(5))


@EVERY_TIME
@EVERY_MEMBER
def test_the_conditional_mean_of_the_residual_vanishes_at_the_truth(name, t, x64):
    assert np.abs(mean_residual(name, t, 0.0)).max() < 1e-10
    assert np.abs(mean_residual(name, t, 0.1)).max() > 1e-5


@pytest.mark.parametrize("t", [0.05, 1.0])
def test_exact_targets_leave_no_residual_at_all(t, x64):
    """CTM with an exact teacher and the average of exact half jumps are the truth itself, not on average only."""
    x, z, _ = quadrature_points(MEAN, STD)
    for name in ("ctm", "shortcut"):
        path, loss = MEMBERS[name]
        assert loss(truth_on(path), truth_on(path), x, z, jnp.full(len(x), t)).max() < 1e-20
        assert loss(truth_on(path, std=STD + 0.1), truth_on(path), x, z, jnp.full(len(x), t)).max() > 1e-4


def halving(measure, gaps):
    """The factors by which a measure falls as the gap is halved: 2^order."""
    values = np.array([np.abs(measure(gap)).max() for gap in gaps])
    return values[:-1] / values[1:]


@pytest.mark.parametrize("t", [0.2, 1.0, 5.0])
def test_the_bias_of_the_consistency_loss_is_of_first_order_in_the_gap(t, x64):
    """Its expected gradient at the truth; O((t - u)^2) for the pair, before the factor 1/(t - u)."""
    x, z, weight = quadrature_points(MEAN, STD)

    @quick_jit
    def gradient(gap, theta):
        times = jnp.full(len(x), t), jnp.full(len(x), t) - gap
        truth = truth_on(VARIANCE_EXPLODING)
        loss = lambda theta: weight @ consistency_loss(perturbed(VARIANCE_EXPLODING, theta), truth, x, z, *times)  # noqa: E731
        return jax.grad(loss)(theta)[:4]

    factors = halving(lambda gap: gradient(gap, jnp.zeros(5)), 0.05 * t * 0.5 ** np.arange(6))
    assert abs(factors[-1] - 2) < 0.03, factors
    smallest = 0.05 * t * 0.5**5
    wrong = jnp.zeros(5).at[1].set(0.1)
    assert np.abs(gradient(smallest, jnp.zeros(5))).max() < 0.1 * np.abs(gradient(smallest, wrong)).max()


@pytest.mark.parametrize(("step", "order"), [(euler_step, 3), (heun_step, 5)], ids=["euler", "heun"])
def test_the_bias_of_ctm_is_that_of_its_teachers_step(step, order, x64):
    """|Phi_step - Phi*|^2/(t - u): a local error of h^2 or h^3, squared and divided by h."""
    x, z, weight = quadrature_points(MEAN, STD)
    truth, t = truth_on(VARIANCE_EXPLODING), jnp.full(len(x), 1.0)

    def loss(gap):
        times = Times(t, t - gap, 0.1 * t)
        return weight @ soft_consistency_loss(truth, truth, truth, x, z, times, step=step)

    factors = halving(loss, 0.2 * 0.5 ** np.arange(6))
    assert abs(np.log2(factors[-1]) - order) < 0.1, factors


# Where members agree.


def model(theta):
    """A velocity on the variance-exploding path that solves nothing: smooth, nonlinear, with two parameters."""
    network = lambda x, t, s: jnp.sin(theta[0] * x) + theta[1] * jnp.cos(x + jnp.log1p(t + 2 * s)[:, None])  # noqa: E731
    return edm_velocity(network, 0.5)


def plain(theta):
    """The same on the linear path."""
    return lambda x, t, s: jnp.sin(theta[0] * x) + theta[1] * jnp.cos(x + (t - 2 * s)[:, None])


THETA = np.array([1.3, 0.7])


def draw(shape=(48, 2)):
    rng = np.random.default_rng(0)
    x, z = jnp.asarray(0.4 * rng.normal(size=shape)), jnp.asarray(rng.normal(size=shape))
    return x, z, jnp.asarray(rng.uniform(0.2, 1.0, shape[0]))


def assert_same_loss(one, other, rtol=1e-11):
    """Losses [B] of theta: equal values, and equal derivatives by both parameters, example by example."""
    for f, g in ((one, other), (jax.jacobian(one), jax.jacobian(other))):
        a, b = (np.asarray(quick_jit(h)(THETA)) for h in (f, g))
        assert np.abs(b).max() > 1e-3
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12)


def test_gtp_with_tau_zero_is_the_consistency_loss(x64):
    """The one written as a trajectory, the other as a consistency model: equal values and gradients."""
    x, z, t = draw()
    for velocity, target in ((model, model), (model, lambda theta: model(0.5 * theta))):
        times = Times(t, 0.9 * t, jnp.zeros_like(t))
        assert_same_loss(
            lambda theta: trajectory_losses(velocity(theta), target(theta), x, z, times).consistency,  # noqa: B023
            lambda theta: consistency_loss(velocity(theta), target(theta), x, z, t, 0.9 * t),  # noqa: B023
        )


def test_gtps_flow_term_is_the_denoisers_loss(x64):
    x, z, t = draw()
    assert_same_loss(
        lambda theta: trajectory_losses(model(theta), model(theta), x, z, Times(t, 0.9 * t, 0.5 * t)).flow,
        lambda theta: t**2 * field_loss(model(theta), VARIANCE_EXPLODING, x, z, t),
        rtol=1e-9,
    )


def test_mean_flow_at_s_equal_to_t_is_flow_matching(x64):
    x, z, t = draw()
    assert_same_loss(
        lambda theta: mean_flow_loss(plain(theta), x, z, t, t), lambda theta: field_loss(plain(theta), LINEAR, x, z, t)
    )


def test_shortcut_without_a_step_is_flow_matching_towards_its_target(x64):
    """At d = 0 both half jumps are the target's field; with the conditional field in its place it is flow matching."""
    x, z, t = draw()
    straight = lambda *_: z - x  # noqa: E731
    assert_same_loss(
        lambda theta: self_consistency_loss(plain(theta), straight, x, z, t, jnp.zeros_like(t)),
        lambda theta: field_loss(plain(theta), LINEAR, x, z, t),
    )
    values = quick_jit(lambda d: self_consistency_loss(plain(THETA), straight, x, z, t, jnp.full_like(t, d)))
    limit = field_loss(plain(THETA), LINEAR, x, z, t)
    assert abs(halving(lambda d: values(d) - limit, 0.02 * 0.5 ** np.arange(6))[-1] - 2) < 0.03
    own = self_consistency_loss(plain(THETA), plain(THETA), x, z, t, jnp.zeros_like(t))
    np.testing.assert_allclose(own, np.zeros(48), atol=1e-20)


def test_gtps_and_ctms_consistency_become_their_instantaneous_losses(x64):
    """With u = tau nothing is followed but the point at u: loss/(t - u) tends to |u(x_t, t, t) - z|^2, GTP's own flow
    loss over t^2; CTM's to |u(x_t, t, t) - f|^2, f its teacher's field, through a P that stays put.
    """
    x, z, t = draw()
    still = lambda x, t, s: jnp.zeros_like(x)  # noqa: E731
    teacher = gaussian_velocity(MEAN, STD)

    def of_gtp(gap):
        return trajectory_losses(model(THETA), still, x, z, Times(t, t - gap, t - gap)).consistency / gap

    def of_ctm(gap):
        return soft_consistency_loss(model(THETA), still, teacher, x, z, Times(t, t - gap, t - gap)) / gap

    x_t = x + t[:, None] * z
    field = jnp.sum((model(THETA)(x_t, t, t) - teacher(x_t, t, t)) ** 2, axis=-1)
    for loss, limit in ((of_gtp, field_loss(model(THETA), VARIANCE_EXPLODING, x, z, t)), (of_ctm, field)):
        factors = halving(lambda gap: loss(gap) - limit, 0.02 * 0.5 ** np.arange(7))  # noqa: B023
        assert abs(factors[-1] - 2) < 0.05, factors


def ve_mean_flow_loss(velocity, x, z, t, s):
    """Mean flow's |u - sg(v - (t - s) du/dt)|^2 on the variance-exploding path, where v = z."""
    point = x + t[:, None] * z
    u, rate = jax.jvp(velocity, (point, t, s), (z, jnp.ones_like(t), jnp.zeros_like(s)))
    return jnp.sum((u - jax.lax.stop_gradient(z - (t - s)[:, None] * rate)) ** 2, axis=-1)


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_gtp_meets_mean_flow_at_first_order_in_the_gap(share, x64):
    """Per pair and with itself as its target, GTP's gradient is (t - s) times mean flow's as u -> t (without the
    factor 1/(t - u) in front of GTP's loss: (t - s)(t - u) times).
    """
    x, z, t = draw()
    s = share * t

    @quick_jit
    def of_gtp(gap):
        def loss(theta):
            return trajectory_losses(model(theta), model(theta), x, z, Times(t, t - gap, s)).consistency

        return jax.jacobian(loss)(THETA) / (t - s)[:, None]

    of_mean_flow = quick_jit(jax.jacobian(lambda theta: ve_mean_flow_loss(model(theta), x, z, t, s)))(THETA)
    factors = halving(lambda gap: of_gtp(gap) - of_mean_flow, 0.01 * 0.5 ** np.arange(7))
    assert abs(factors[-1] - 2) < 0.05, factors
    difference = np.abs(of_gtp(1e-5) - of_mean_flow).max()
    assert difference < 1e-3 * np.abs(of_mean_flow).max()


def test_mean_flow_on_this_path_has_its_minimum_at_the_truth_too(x64):
    """What the comparison above compares with is right: its conditional mean vanishes at the true map."""
    x, z, weight = posterior_points(VARIANCE_EXPLODING, jnp.array([-1.0, 0.2, 2.0]), 1.0, MEAN, STD)
    t = jnp.ones(len(x))

    def loss(constant):
        velocity = lambda x, t, s: gaussian_velocity(MEAN, STD)(x, t, s) + constant  # noqa: E731
        return ve_mean_flow_loss(velocity, x, z, t, 0.3 * t)

    gradient = weight * quick_jit(jax.jacobian(loss))(0.0).reshape(weight.shape)
    np.testing.assert_allclose(gradient.sum(axis=1), np.zeros(3), atol=1e-10)


# Solvers.

MODES = 0.8 * np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])


def solve(step, field, x, times):
    compiled = quick_jit(functools.partial(step, field))
    return follow(field, x, jnp.asarray(times), step=lambda _, *inputs: compiled(*inputs))


@pytest.mark.parametrize(("step", "order"), [(euler_step, 1), (heun_step, 2)], ids=["euler", "heun"])
@pytest.mark.parametrize("end", [0.5, 0.0], ids=["inside", "to zero"])
def test_orders_of_the_solvers(step, order, end, x64):
    """On four Gaussians. Down to 0 Heun's last step is Euler's; its error of h^2 leaves the order as it is."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(16, 2)))
    field = mixture_field(jnp.asarray(MODES), 0.4)
    exact = integrate(field, x, 1.5, end, 400)
    errors = [np.abs(solve(step, field, x, np.linspace(1.5, end, n + 1)) - exact).max() for n in (16, 32, 64)]
    measured = np.log2(np.divide(errors[:-1], errors[1:]))
    assert abs(measured[-1] - order) < 0.2, measured


@pytest.mark.parametrize(("step", "order"), [(euler_step, 1), (heun_step, 2)], ids=["euler", "heun"])
def test_orders_of_the_solvers_on_the_linear_path(step, order, x64):
    """On one Gaussian, from pure noise to the data, against the map in closed form."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(16, 1)))
    velocity = gaussian_linear_velocity(MEAN, STD)
    exact = jump(velocity, x, jnp.ones(16), jnp.zeros(16))
    errors = [np.abs(solve(step, velocity, x, np.linspace(1, 0, n + 1)) - exact).max() for n in (16, 32, 64, 128)]
    measured = np.log2(np.divide(errors[:-1], errors[1:]))
    assert abs(measured[-1] - order) < 0.2, measured


def test_many_steps_of_heun_are_the_flow_map(x64):
    """Phi* of the mixture, and the semigroup law: from 1.5 to 0.7 and on to 0.2 is from 1.5 to 0.2."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(16, 2)))
    field = mixture_field(jnp.asarray(MODES), 0.4)
    first = solve(heun_step, field, x, np.linspace(1.5, 0.7, 201))
    both = solve(heun_step, field, first, np.linspace(0.7, 0.2, 201))
    whole = solve(heun_step, field, x, np.linspace(1.5, 0.2, 401))
    np.testing.assert_allclose(both, whole, atol=1e-5)
    np.testing.assert_allclose(whole, integrate(field, x, 1.5, 0.2), atol=1e-5)
    assert np.abs(whole - x).max() > 0.1


def test_solvers_look_at_the_instantaneous_field_only(x64):
    """u(x, t, s) away from s = t plays no part."""
    velocity = gaussian_velocity(MEAN, STD)
    spoilt = lambda x, t, s: velocity(x, t, s) + (t - s)[:, None]  # noqa: E731
    x, _, t = draw()
    for step in flow_map.SOLVERS.values():
        np.testing.assert_array_equal(step(velocity, x, t, 0.5 * t), step(spoilt, x, t, 0.5 * t))
        np.testing.assert_array_equal(step(velocity, x, t, 0 * t), step(spoilt, x, t, 0 * t))


# The ends of the time axis, in float32 and through real networks.

ROWS = 12


def cycled(values):
    return jnp.asarray(np.resize(np.array(values, np.float32), ROWS))


def extreme_grid_times(*_, **__):
    """t at both ends; u next to t on the finest grid, or so near that they differ by one bit; tau at 0 or at u."""
    t = np.resize(np.array([80.0, 80.0, 0.002, 0.002, 1e-4, 0.00201], np.float32), ROWS)
    u = np.where(np.arange(ROWS) % 2, np.nextafter(t, np.float32(0)), np.float32(0.99) * t)
    tau = np.where(np.arange(ROWS) % 3, u, 0)
    return Times(jnp.asarray(t), jnp.asarray(u), jnp.asarray(tau))


def extreme_pairs(*_, **__):
    """(t, s) with s = t, s = 0, and t at both ends."""
    return cycled([1.0, 1.0, 1e-7, 0.0, 0.5, 1.0]), cycled([1.0, 0.0, 0.0, 0.0, 0.5, np.nextafter(1, 0)])


def extreme_jumps(*_, **__):
    """(t, d): the longest jump, the shortest, and none at all."""
    return cycled([1.0, 1.0, 2 * 2.0**-7, 0.0]), cycled([0.5, 2.0**-7, 2.0**-7, 0.0])


@pytest.mark.parametrize("name", recipes.names(policies))
def test_nothing_breaks_at_the_ends(name, monkeypatch):
    """Losses, gradients and samples of every member where its times are replaced by the worst that there are."""
    replaced = []

    def put(module, attribute, function):
        original = getattr(module, attribute)

        def wrapped(*args, **kwargs):
            replaced.append(attribute)
            return function(original, *args, **kwargs)

        monkeypatch.setattr(module, attribute, wrapped)

    def at_the_ends(original, velocity, path, x, z, t, **kwargs):
        ends = [0.0, 1e-7, 1.0] if path is LINEAR else [0.0, 1e-7, 0.002, 80.0]
        return original(velocity, path, x, z, cycled(ends), **kwargs)

    put(flow_map, "adjacent_times", lambda _, *args, **kwargs: extreme_grid_times())
    put(mean_flow, "ordered_times", lambda _, *args, **kwargs: extreme_pairs())
    put(shortcut, "dyadic_times", lambda _, *args, **kwargs: extreme_jumps())
    put(flow_map, "field_loss", at_the_ends)

    settings = copy.deepcopy(DEFAULTS["policy"]) | {"name": name, "hidden": (8,), "num_steps": 2}
    policy = recipes.make_policy(settings, -np.ones(2, np.float32), np.ones(2, np.float32), 8)
    batch = jax.tree.map(jnp.asarray, random_batch(ROWS))
    params = quick_jit(policy.init)(jax.random.key(0), batch)
    hparams = {"lambda_flow": jnp.float32(1), "lambda_consistency": jnp.float32(1)}

    @quick_jit
    def gradient(params, key):
        def loss(params):
            per_example, _ = policy.loss(params, params, key, batch, hparams, jnp.int32(100))
            return jnp.mean(per_example), per_example

        (_, per_example), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        return per_example, gradient

    for seed in range(3):
        per_example, grads = gradient(params, jax.random.key(seed))
        assert per_example.dtype == jnp.float32 and np.isfinite(per_example).all()
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
        assert any((np.asarray(leaf) != 0).any() for leaf in jax.tree.leaves(grads))
    assert bool(replaced) == (name not in {"gaussian", "vp_diffusion"})  # those have no continuous time
    actions = quick_jit(policy.sample, static_argnums=3)(params, jax.random.key(1), batch.obs, settings["num_steps"])
    assert np.isfinite(actions).all() and (np.abs(actions) <= 1).all()


# How times are drawn.


def test_dyadic_times_stay_on_their_grid():
    t, d = (
        np.asarray(v, np.float64) for v in quick_jit(lambda key: shortcut.dyadic_times(key, (4000,)))(jax.random.key(0))
    )
    assert set(d) == {2.0**-i for i in range(1, 8)}
    np.testing.assert_array_equal((t / (2 * d)) % 1, 0)
    assert (t >= 2 * d).all() and t.max() == 1
    assert set(t[d == 0.5]) == {1.0} and set(t[d == 0.25]) == {0.5, 1.0}


def test_ordered_times_are_ordered_and_mostly_equal():
    t, s = (np.asarray(v) for v in quick_jit(lambda key: mean_flow.ordered_times(key, (20_000,)))(jax.random.key(0)))
    assert (s <= t).all() and (s >= 0).all() and (t <= 1).all()
    assert abs((s == t).mean() - mean_flow.FLOW_SHARE) < 0.015
    # Where they differ they are the larger and the smaller of two, whose logits have mean -0.4 and deviation 1.
    both = np.concatenate([t[s < t], s[s < t]]).astype(np.float64)
    logits = np.log(both) - np.log1p(-both)
    assert abs(logits.mean() + 0.4) < 0.05 and abs(logits.std() - 1) < 0.05


@pytest.mark.parametrize(("gap", "tau"), [("any", "any"), ("adjacent", "zero"), ("any", "zero")])
def test_other_choices_of_times_keep_their_order(gap, tau):
    draw_times = quick_jit(lambda key: flow_map.adjacent_times(key, (4000,), flow_map.Schedule(), 10, gap=gap, tau=tau))
    t, u, last = (np.asarray(v) for v in draw_times(jax.random.key(0)))
    assert (t > u).all() and (u >= last).all() and (last >= 0).all()
    points = np.append(np.asarray(flow_map.Schedule().at(jnp.arange(10) / 10)), 0)
    place = lambda v: np.argmin(np.abs(v[:, None] - points[None]), axis=1)  # noqa: E731
    for v in (t, u, last):
        np.testing.assert_allclose(v, points[place(v)], rtol=1e-4)
    distance = set((place(u) - place(t)).tolist())
    assert distance == ({1} if gap == "adjacent" else set(range(1, 11)))
    assert (last == 0).all() == (tau == "zero")


def test_uniform_times_and_their_refusal():
    np.testing.assert_allclose(flow_map.uniform_times(4), [1, 0.75, 0.5, 0.25, 0])
    with pytest.raises(ValueError, match="num_steps = 0"):
        flow_map.uniform_times(0)
    with pytest.raises(ValueError, match="policy.solver = 'rk4' is not one of euler, heun"):
        flow_map.solver("rk4")


def test_edms_weight_evens_out_its_preconditioned_target():
    """Table 1 of EDM: the weight is 1/c_out^2, so that F's own loss has weight 1 at every time."""
    t = jnp.geomspace(0.002, 80, 9)
    c_out = 0.5 * t / jnp.sqrt(t**2 + 0.25)
    np.testing.assert_allclose(flow_map.edm_weight(t, 0.5) * c_out**2, np.ones(9), rtol=1e-5)
    times = np.log(flow_map.log_normal_times(jax.random.key(0), (20_000,)))
    assert abs(times.mean() + 1.2) < 0.03 and abs(times.std() - 1.2) < 0.03
