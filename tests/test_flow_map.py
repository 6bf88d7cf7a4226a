"""The flow map: relations between its forms, exact solutions, time grids, and the ends of the time axis."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import gaussian_linear_velocity, gaussian_velocity, integrate, mixture_field
from scipy import stats

from gtp_jax import losses
from gtp_jax.agent.networks import flow_network
from gtp_jax.flow import map as flow_map
from gtp_jax.flow.map import edm_velocity, extrapolate, follow, jump
from gtp_jax.flow.times import Schedule, adjacent_times, check_schedule, curriculum, uniform_times

MEAN, STD = 0.3, 0.4


def ve_map(x, t, s):
    return MEAN + (x - MEAN) * np.sqrt((STD**2 + s**2) / (STD**2 + t**2))


def linear_map(x, t, s):
    def variance(r):
        return (1 - r) ** 2 * STD**2 + r**2

    return (1 - s) * MEAN + (x - (1 - t) * MEAN) * np.sqrt(variance(s) / variance(t))


ORACLES = pytest.mark.parametrize(
    ("velocity", "solution", "times"),
    [
        (gaussian_velocity(MEAN, STD), ve_map, (80.0, 1.7, 0.2, 0.0)),
        (gaussian_linear_velocity(MEAN, STD), linear_map, (1.0, 0.7, 0.2, 0.0)),
    ],
    ids=["variance-exploding", "linear"],
)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def column(*values):
    return jnp.array(values)


@ORACLES
def test_jump_is_the_solution(velocity, solution, times, x64):
    t, s, x = (grid.ravel() for grid in np.meshgrid(times[:-1], times, np.linspace(-2, 2, 7)))
    got = jump(velocity, jnp.asarray(x)[:, None], jnp.asarray(t), jnp.asarray(s))
    np.testing.assert_allclose(got[:, 0], solution(x, t, s), rtol=1e-12, atol=1e-13)


@ORACLES
def test_semigroup(velocity, solution, times, x64):
    """Eq. 6: many jumps along the grid end where one long jump does."""
    x = jnp.linspace(-2, 2, 7)[:, None]
    whole = jump(velocity, x, jnp.full(7, times[0]), jnp.full(7, times[-1]))
    np.testing.assert_allclose(follow(velocity, x, jnp.array(times)), whole, rtol=1e-12)


def test_follow_keeps_event_axes(x64):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 4, 3)))
    times = jnp.array([3.0, 1.0, 0.0])
    chunk = follow(gaussian_velocity(MEAN, STD), x, times, event_ndim=2)
    flat = follow(gaussian_velocity(MEAN, STD), x.reshape(5, 12), times)
    np.testing.assert_array_equal(chunk.reshape(5, 12), flat)


def test_the_forms_agree(x64):
    """Eq. 4: Phi = (1 - s/t) phi + (s/t) x_t; at s = t the map stays put and phi is the instantaneous flow (eq. 5)."""
    velocity = gaussian_velocity(MEAN, STD)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2)))
    t, s = jnp.array([80.0, 5.0, 2.0, 1.0, 0.5, 0.1]), jnp.array([3.0, 0.0, 2.0, 0.9, 0.01, 0.002])
    ratio = (s / t)[:, None]
    phi = extrapolate(velocity, x, t, s)
    np.testing.assert_allclose(jump(velocity, x, t, s), (1 - ratio) * phi + ratio * x, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(jump(velocity, x, t, t), x)
    denoiser = (STD**2 * x + t[:, None] ** 2 * MEAN) / (STD**2 + t[:, None] ** 2)  # E[x_0 | x_t], the posterior mean
    np.testing.assert_allclose(extrapolate(velocity, x, t, t), denoiser, rtol=1e-11, atol=1e-13)


def test_mixture_field_leads_to_the_gaussian_map_and_to_its_modes(x64):
    """One component is solved in closed form; with four narrow ones, a quarter of the noise ends at each."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(64, 2)))
    one = jnp.array([[0.3, -0.2]])
    end = integrate(mixture_field(one, 0.4), 5 * x, 5.0, 0.0)
    np.testing.assert_allclose(
        end, jump(gaussian_velocity(one, 0.4), 5 * x, jnp.full(64, 5.0), jnp.zeros(64)), rtol=1e-6
    )

    four = 0.8 * jnp.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    distance = jnp.abs(integrate(mixture_field(four, 0.05), 20 * x, 20.0, 0.0, 4000)[:, None] - four[None]).max(-1)
    assert (distance.min(axis=1) < 0.2).all()
    assert (np.bincount(distance.argmin(axis=1), minlength=4) >= 8).all()


def test_edm_velocity_is_the_preconditioned_denoiser(x64):
    """u = (x - phi)/t with phi = c_skip x + c_out F(c_in x), the coefficients as EDM's table 1 has them."""
    sd = 0.5
    network = lambda x, t, s: jnp.sin(3 * x) + t[:, None] - s[:, None]
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2)))
    t, s = jnp.geomspace(1e-4, 80, 6), jnp.geomspace(1e-5, 30, 6)
    variance = (t**2 + sd**2)[:, None]
    c_skip, c_out, c_in = sd**2 / variance, sd * t[:, None] / jnp.sqrt(variance), 1 / jnp.sqrt(variance)
    phi = c_skip * x + c_out * network(c_in * x, t, s)
    np.testing.assert_allclose(edm_velocity(network, sd)(x, t, s), (x - phi) / t[:, None], rtol=1e-10)
    np.testing.assert_allclose(extrapolate(edm_velocity(network, sd), x, t, s), phi, rtol=1e-10)


def test_edm_velocity_keeps_its_digits_at_small_times():
    """In float32 the quotient (x - phi)/t has lost all of them at t = 1e-6; the simplified form loses none."""
    sd, network = 0.5, lambda x, t, s: jnp.sin(3 * x)
    x, t = np.linspace(-1, 1, 64)[:, None], np.full(64, 1e-6)
    with jax.enable_x64(True):
        exact = np.asarray(edm_velocity(network, sd)(jnp.asarray(x), jnp.asarray(t), jnp.asarray(t)))
    x, t = jnp.asarray(x, jnp.float32), jnp.asarray(t, jnp.float32)
    np.testing.assert_allclose(edm_velocity(network, sd)(x, t, t), exact, rtol=2e-6, atol=2e-6)
    phi = extrapolate(edm_velocity(network, sd), x, t, t)
    assert np.abs(np.asarray((x - phi) / t[:, None]) - exact).max() > 1e-2


def test_values_and_gradients_are_finite_at_the_ends():
    network = flow_network(2, (8, 8))
    ends = [(0.0, 0.0), (0.002, 0.0), (0.002, 0.002), (80.0, 80.0), (80.0, 0.0), (80.0, 79.0)]
    t, s = jnp.array(ends).T
    obs, x = jnp.ones((6, 3)), jnp.array(ends) + 0.3
    params = jax.jit(network.init)(jax.random.key(0), obs, x, t, s)

    def total(params, x, t, s):
        velocity = edm_velocity(lambda *args: network.apply(params, obs, *args), 0.5)
        return jnp.sum(jump(velocity, x, t, s) ** 2) + jnp.sum(extrapolate(velocity, x, t, s) ** 2)

    value, grads = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2, 3)))(params, x, t, s)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((value, grads)))


def test_schedule_ends(x64):
    schedule = Schedule()
    np.testing.assert_allclose(schedule.at(column(0.0, 1.0)), [80, 0.002], rtol=1e-12)
    # Halfway in t^(1/7), as Karras et al. place it.
    np.testing.assert_allclose(schedule.at(column(0.5)), ((80 ** (1 / 7) + 0.002 ** (1 / 7)) / 2) ** 7, rtol=1e-12)
    np.testing.assert_allclose(Schedule(0.1, 10.0, 1.0).at(column(0.25)), 10 - 0.25 * 9.9, rtol=1e-12)


@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_sampling_times(num_steps):
    times = Schedule().sampling_times(num_steps)
    assert times.shape == (num_steps + 1,) and times[-1] == 0
    assert (np.diff(times) < 0).all()
    np.testing.assert_allclose(times[:-1], Schedule().at(np.arange(num_steps) / num_steps), rtol=1e-6)
    np.testing.assert_allclose(times[0], 80, rtol=1e-6)


def test_impossible_schedules_are_refused():
    for schedule in (Schedule(sigma_min=0.0), Schedule(sigma_min=90.0), Schedule(rho=0.5), Schedule(sigma_max=-1.0)):
        with pytest.raises(ValueError, match="sigma_min < sigma_max"):
            check_schedule(schedule)
    assert check_schedule(Schedule()) == Schedule()
    with pytest.raises(ValueError, match="num_steps = 0"):
        Schedule().sampling_times(0)


@pytest.mark.parametrize("num_updates", [8000, 8007, 400])
def test_curriculum_doubles_eight_times(num_updates):
    length = num_updates // 8
    values = np.asarray(curriculum(jnp.arange(num_updates + 10), num_updates))
    expected = [10 * 2 ** min(step // length, 7) for step in range(num_updates + 10)]
    np.testing.assert_array_equal(values, expected)
    assert values[length - 1] == 10 and values[length] == 20 and values[7 * length] == 1280


def test_curriculum_of_a_very_short_run_and_of_other_ends():
    steps = jnp.arange(9)
    np.testing.assert_array_equal(curriculum(steps, 3), [10, 20, 40, 80, 160, 320, 640, 1280, 1280])
    # 100 lies between two doublings: it is never exceeded.
    np.testing.assert_array_equal(curriculum(steps, 5, first=10, last=100), [10, 20, 40, 80] + 5 * [100])


draw_times = jax.jit(adjacent_times, static_argnums=(1, 2))


def grid(num_intervals):
    return np.asarray(Schedule().at(jnp.arange(num_intervals + 1) / num_intervals))


def indices(times, num_intervals):
    """Places on the grid, each time checked to lie on it; 0 stands for the last point."""
    points = np.append(grid(num_intervals)[:-1], 0.0)
    found = np.abs(np.asarray(times)[:, None] - points).argmin(axis=1)
    np.testing.assert_allclose(times, points[found], rtol=3e-6)
    return found


@pytest.mark.parametrize("num_intervals", [1, 10, 1280])
def test_pairs_are_neighbours_on_the_grid(num_intervals):
    times = draw_times(jax.random.key(0), (4000,), Schedule(), jnp.int32(num_intervals))
    t, u, tau = (indices(time, num_intervals) for time in times)
    np.testing.assert_array_equal(u, t + 1)
    assert (tau >= u).all()
    assert (times.t > times.u).all() and (times.u >= times.tau).all() and (times.tau >= 0).all()
    # sigma_min is never a target: 0 stands in its place.
    smallest = grid(num_intervals)[-1]
    assert (np.asarray(times.t) > 1.001 * smallest).all()
    np.testing.assert_array_equal(np.asarray(times.u)[u == num_intervals], 0)
    assert (np.asarray(times.u)[u < num_intervals] > 1.001 * smallest).all()


def test_pairs_and_targets_are_drawn_uniformly():
    num_intervals = 10
    times = draw_times(jax.random.key(3), (40_000,), Schedule(), jnp.int32(num_intervals))
    t, _, tau = (indices(time, num_intervals) for time in times)
    assert stats.chisquare(np.bincount(t, minlength=num_intervals)).pvalue > 0.01
    for place in range(num_intervals - 1):
        counts = np.bincount(tau[t == place], minlength=num_intervals + 1)[place + 1 :]
        assert stats.chisquare(counts).pvalue > 0.001, place


def test_times_are_drawn_under_jit_with_a_traced_grid():
    draw = jax.jit(lambda step: adjacent_times(jax.random.key(0), (64,), Schedule(), curriculum(step, 80)))
    assert indices(draw(0).t, 10).max() < 10
    assert indices(draw(79).t, 1280).max() >= 640


def test_times_have_the_type_that_is_asked_for(x64):
    key = jax.random.key(0)
    for dtype in ("bfloat16", "float32", "float64"):
        drawn = (
            losses.adjacent_times(key, (5,), losses.Schedule(), 20, dtype=dtype),
            losses.log_normal_times(key, (5,), dtype),
            losses.dyadic_times(key, (5,), dtype=dtype),
            losses.ordered_times(key, (5,), dtype=dtype),
        )
        assert {leaf.dtype for leaf in jax.tree.leaves(drawn)} == {jnp.dtype(dtype)}
        x = jnp.ones((3, 2), dtype)
        for sampled in (
            flow_map.follow(lambda x, t, s: x, x, losses.Schedule().sampling_times(3)),
            flow_map.follow(lambda x, t, s: x, x, uniform_times(3), step=flow_map.heun_step),
            losses.renoising_sampler(lambda x, t, s: x, key, x, losses.Schedule().sampling_times(3)),
        ):
            assert sampled.dtype == dtype
