"""Solvers have their orders, times are drawn as said, and nothing breaks at the ends of the time axis."""

import copy
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import (
    draw,
    gaussian_linear_velocity,
    gaussian_velocity,
    integrate,
    mixture_field,
    quick_jit,
    random_batch,
)

from gtp_jax import policies
from gtp_jax.agent import build
from gtp_jax.config.settings import DEFAULTS
from gtp_jax.flow import map as flow_map
from gtp_jax.flow.map import euler_step, follow, heun_step, jump
from gtp_jax.flow.paths import LINEAR
from gtp_jax.flow.times import Schedule, Times, adjacent_times, log_normal_times, uniform_times
from gtp_jax.policies import mean_flow, shortcut

MEAN, STD = 0.3, 0.5


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
    spoilt = lambda x, t, s: velocity(x, t, s) + (t - s)[:, None]
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


@pytest.mark.parametrize("name", build.names(policies))
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
    policy = build.make_policy(settings, -np.ones(2, np.float32), np.ones(2, np.float32), 8)
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
    draw_times = quick_jit(lambda key: adjacent_times(key, (4000,), Schedule(), 10, gap=gap, tau=tau))
    t, u, last = (np.asarray(v) for v in draw_times(jax.random.key(0)))
    assert (t > u).all() and (u >= last).all() and (last >= 0).all()
    points = np.append(np.asarray(Schedule().at(jnp.arange(10) / 10)), 0)
    place = lambda v: np.argmin(np.abs(v[:, None] - points[None]), axis=1)
    for v in (t, u, last):
        np.testing.assert_allclose(v, points[place(v)], rtol=1e-4)
    distance = set((place(u) - place(t)).tolist())
    assert distance == ({1} if gap == "adjacent" else set(range(1, 11)))
    assert (last == 0).all() == (tau == "zero")


def test_uniform_times_and_their_refusal():
    np.testing.assert_allclose(uniform_times(4), [1, 0.75, 0.5, 0.25, 0])
    with pytest.raises(ValueError, match="num_steps = 0"):
        uniform_times(0)
    with pytest.raises(ValueError, match="policy.solver = 'rk4' is not one of euler, heun"):
        flow_map.solver("rk4")


def test_edms_weight_evens_out_its_preconditioned_target():
    """Table 1 of EDM: the weight is 1/c_out^2, so that F's own loss has weight 1 at every time."""
    t = jnp.geomspace(0.002, 80, 9)
    c_out = 0.5 * t / jnp.sqrt(t**2 + 0.25)
    np.testing.assert_allclose(flow_map.edm_weight(t, 0.5) * c_out**2, np.ones(9), rtol=1e-5)
    times = np.log(log_normal_times(jax.random.key(0), (20_000,)))
    assert abs(times.mean() + 1.2) < 0.03 and abs(times.std() - 1.2) < 0.03
