"""Times of sampling and training: schedules, the growing grid, and what is drawn from them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import gaussian_velocity, quick_jit
from scipy import stats

from gtp_jax import losses
from gtp_jax.flow import map as flow_map
from gtp_jax.flow.times import Schedule, adjacent_times, angular_times, curriculum, log_normal_times, uniform_times
from gtp_jax.policies import mean_flow, shortcut

draw_times = quick_jit(adjacent_times, static_argnums=(1, 2), static_argnames=("gap", "zero_share"))


def test_schedule_ends(x64):
    np.testing.assert_allclose(Schedule().at(jnp.array([0.0, 1.0])), [10, 0.002], rtol=1e-12)
    # Halfway in t^(1/7), as Karras et al. place it.
    np.testing.assert_allclose(Schedule().at(jnp.array([0.5])), ((10 ** (1 / 7) + 0.002 ** (1 / 7)) / 2) ** 7)
    np.testing.assert_allclose(Schedule(0.1, 10.0, 1.0).at(jnp.array([0.25])), 10 - 0.25 * 9.9, rtol=1e-12)


@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_sampling_times(num_steps):
    times = Schedule().sampling_times(num_steps)
    assert times.shape == (num_steps + 1,) and times[-1] == 0 and (np.diff(times) < 0).all()
    np.testing.assert_allclose(times[:-1], Schedule().at(np.arange(num_steps) / num_steps), rtol=1e-6)
    np.testing.assert_allclose(times[0], 10, rtol=1e-6)
    np.testing.assert_allclose(uniform_times(num_steps), np.linspace(1, 0, num_steps + 1), rtol=1e-6)


@pytest.mark.parametrize("num_steps", [1, 2, 5, 100])
def test_angular_times_divide_the_path_of_normal_data_equally(num_steps, x64):
    """Their angles are equal, and so are the distances between points of a ray in units of their deviation."""
    times, scale = np.asarray(angular_times(num_steps, 10.0, 0.25)), 0.25
    assert times.shape == (num_steps + 1,) and times[-1] == 0 and (np.diff(times) < 0).all()
    np.testing.assert_allclose(times[0], 10, rtol=1e-12)
    points = np.stack([scale * np.ones(num_steps + 1), times]) / np.sqrt(scale**2 + times**2)
    lengths = np.linalg.norm(np.diff(points), axis=0)
    np.testing.assert_allclose(lengths, lengths[0], rtol=1e-9)


def test_the_balanced_weight_makes_steps_of_the_exact_map_equally_wrong(x64):
    """Steps to a neighbour on an even grid in log t, of normal data: sd (t - u)/(2 t) at every t, to first order."""
    sd, ratio, rng = 0.5, 0.999, np.random.default_rng(0)
    x, z = (jnp.asarray(rng.standard_normal((200_000, 1))) for _ in range(2))
    velocity = gaussian_velocity(0.0, sd)
    for time in (0.01, 0.1, 0.5, 2.0, 10.0):
        t, u = jnp.full(len(x), time), jnp.full(len(x), ratio * time)
        loss = losses.trajectory_losses(velocity, velocity, sd * x, z, losses.Times(t, u, u)).consistency
        balanced = jnp.mean(losses.balanced_weight(t, sd) * loss)
        np.testing.assert_allclose(balanced, sd * (1 - ratio) / 2, rtol=0.02)


@pytest.mark.parametrize(
    "sampling_times", [Schedule().sampling_times, uniform_times, lambda num_steps: angular_times(num_steps, 10, 0.25)]
)
def test_a_sampler_needs_a_step(sampling_times):
    with pytest.raises(ValueError, match="num_steps = 0"):
        sampling_times(0)


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


def indices(times, num_intervals):
    """Places on the grid, each time checked to lie on it; 0 stands for the last point, sigma_min."""
    points = np.append(np.asarray(Schedule().at(jnp.arange(num_intervals) / num_intervals)), 0.0)
    found = np.abs(np.asarray(times)[:, None] - points).argmin(axis=1)
    np.testing.assert_allclose(times, points[found], rtol=3e-6)
    return found


@pytest.mark.parametrize(
    ("num_intervals", "gap", "zero_share"),
    [
        *((n, "adjacent", 0.0) for n in (1, 10, 1280)),
        *((10, gap, share) for gap, share in (("any", 0.0), ("adjacent", 0.5), ("adjacent", 1.0), ("any", 1.0))),
    ],
)
def test_times_are_ordered_points_of_the_grid(num_intervals, gap, zero_share):
    grid = jnp.int32(num_intervals)
    times = draw_times(jax.random.key(0), (4000,), Schedule(), grid, gap=gap, zero_share=zero_share)
    t, u, last = (indices(time, num_intervals) for time in times)
    assert (times.t > times.u).all() and (times.u >= times.tau).all() and (times.tau >= 0).all()
    assert set((u - t).tolist()) == ({1} if gap == "adjacent" else set(range(1, num_intervals + 1)))
    assert (last >= u).all() and (last == num_intervals).all() == (zero_share == 1 or num_intervals == 1)


def test_pairs_and_targets_are_drawn_uniformly():
    num_intervals = 10
    times = draw_times(jax.random.key(3), (40_000,), Schedule(), jnp.int32(num_intervals))
    t, _, tau = (indices(time, num_intervals) for time in times)
    assert stats.chisquare(np.bincount(t, minlength=num_intervals)).pvalue > 0.01
    for place in range(num_intervals - 1):
        counts = np.bincount(tau[t == place], minlength=num_intervals + 1)[place + 1 :]
        assert stats.chisquare(counts).pvalue > 0.001, place


def test_a_share_of_the_targets_is_zero_and_the_others_stay_as_they_were():
    draw = lambda share: draw_times(jax.random.key(3), (40_000,), Schedule(), jnp.int32(100), zero_share=share)
    without, with_share = draw(0.0), draw(0.25)
    moved = np.asarray(with_share.tau != without.tau)
    assert (with_share.tau[moved] == 0).all()
    np.testing.assert_array_equal(with_share.t, without.t)
    np.testing.assert_array_equal(with_share.u, without.u)
    early = np.asarray(without.t > 5)  # few of whose targets are 0 by themselves
    expected = 0.25 + 0.75 * (without.tau[early] == 0).mean()
    assert abs((with_share.tau[early] == 0).mean() - expected) < 4 * np.sqrt(0.25 * 0.75 / early.sum())


def test_times_are_drawn_under_jit_with_a_traced_grid():
    draw = quick_jit(lambda step: adjacent_times(jax.random.key(0), (64,), Schedule(), curriculum(step, 80)))
    assert indices(draw(0).t, 10).max() < 10
    assert indices(draw(79).t, 1280).max() >= 640


def test_dyadic_times_stay_on_their_grid():
    drawn = quick_jit(lambda key: shortcut.dyadic_times(key, (4000,)))(jax.random.key(0))
    t, d = (np.asarray(v, np.float64) for v in drawn)
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


def test_edms_times_and_the_weight_that_evens_out_its_preconditioned_target():
    """Table 1 of EDM: the weight is 1/c_out^2, so that F's own loss has weight 1 at every time."""
    t = jnp.geomspace(0.002, 80, 9)
    c_out = 0.5 * t / jnp.sqrt(t**2 + 0.25)
    np.testing.assert_allclose(flow_map.edm_weight(t, 0.5) * c_out**2, np.ones(9), rtol=1e-5)
    times = np.log(log_normal_times(jax.random.key(0), (20_000,)))
    assert abs(times.mean() + 1.2) < 0.03 and abs(times.std() - 1.2) < 0.03


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_times_have_the_type_that_is_asked_for_and_samples_that_of_x(dtype, x64):
    def everything(key, x):
        times = losses.Schedule().sampling_times(3)
        drawn = (
            losses.adjacent_times(key, (5,), losses.Schedule(), 20, dtype=dtype),
            losses.balanced_weight(jnp.ones(5, dtype), 0.5),
            losses.log_normal_times(key, (5,), dtype),
            losses.dyadic_times(key, (5,), dtype=dtype),
            losses.ordered_times(key, (5,), dtype=dtype),
        )
        sampled = (
            flow_map.follow(lambda x, t, s: x, x, times),
            flow_map.follow(lambda x, t, s: x, x, uniform_times(3), step=flow_map.heun_step),
            losses.renoising_sampler(lambda x, t, s: x, key, x, times),
        )
        return drawn, sampled

    found = jax.eval_shape(everything, jax.random.key(0), jnp.ones((3, 2), dtype))
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(dtype)}
