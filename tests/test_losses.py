"""Every public loss under every transformation of JAX, in every floating type, on single actions and on chunks."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import quick_jit

import gtp_jax.losses as losses
from gtp_jax.flow import map as flow_map

B, A, H = 6, 4, 2  # examples, numbers of an action, actions of a chunk; a flat action is [A], a chunk [H, A / H]
CHAIN = losses.variance_preserving_chain(5)
INDEX = np.array([0, 1, 2, 3, 4, 2], np.int32)


class Data(NamedTuple):
    """x and z [B, ...], three times [B] in order, and values [B]."""

    x: jax.Array
    z: jax.Array
    t: jax.Array
    u: jax.Array
    tau: jax.Array
    value: jax.Array


def draw(dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0.1, 0.9, (3, B)), axis=0)[::-1]
    made = Data(rng.normal(size=(B, A)), rng.normal(size=(B, A)), *times, rng.normal(size=B))
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), made)


def draw_params(dtype=np.float32):
    return jnp.asarray(0.3 * np.random.default_rng(9).normal(size=(A + 2, A)), dtype)


def network(params, x, t, s):
    """A smooth function of everything it is given, whatever the event's shape is."""
    # Never nothing to do, so that the same steps are taken, and differentiated, for both kinds of events.
    flat = x.reshape(*t.shape, 1, A)[..., 0, :]
    out = jnp.tanh(jnp.concatenate([flat, t[..., None], s[..., None]], axis=-1) @ params) + 0.1 * flat
    return out.reshape(*t.shape, 1, A).reshape(x.shape)


def velocity_of(params):
    return functools.partial(network, params)


def ensemble(velocity, d):
    """Values [2, B] that depend on the parameters."""
    q = velocity(d.x, d.t, d.u).reshape(B, -1)
    return jnp.stack([q.sum(axis=-1), q[:, 0]])


def times(d):
    return losses.Times(d.t, d.u, d.tau)


def weighted(name):
    """The flow matching loss times weights that other arguments of a loss give."""
    weights = getattr(losses, name)
    return lambda v, other, d, n: (
        weights(d.value, 0.7) * losses.field_loss(v, losses.LINEAR, d.x, d.z, d.t, event_ndim=n)
    )


def noise_prediction(v, other, d, n):
    predict = lambda x, i: v(x, i.astype(x.dtype), i.astype(x.dtype))
    return losses.noise_prediction_loss(predict, CHAIN, d.x, d.z, INDEX, event_ndim=n)


def with_solver(v, other, d, n):
    given = {"teacher": other, "step": flow_map.heun_step, "event_ndim": n}
    return losses.trajectory_losses(losses.edm_velocity(v, 0.5), other, d.x, d.z, times(d), **given)


# Name -> (trained velocity, another one, data, event_ndim) -> [B], or a tuple of them.
TABLE = {
    "trajectory_losses": lambda v, o, d, n: losses.trajectory_losses(v, o, d.x, d.z, times(d), event_ndim=n),
    "trajectory_losses, solver": with_solver,
    "consistency_loss": lambda v, o, d, n: losses.consistency_loss(v, o, d.x, d.z, d.t, d.u, event_ndim=n),
    "soft_consistency_loss": lambda v, o, d, n: losses.soft_consistency_loss(v, o, o, d.x, d.z, times(d), event_ndim=n),
    "self_consistency_loss": lambda v, o, d, n: losses.self_consistency_loss(
        v, o, d.x, d.z, d.t, d.t / 4, event_ndim=n
    ),
    "mean_flow_loss": lambda v, o, d, n: losses.mean_flow_loss(v, d.x, d.z, d.t, d.u, event_ndim=n),
    "field_loss, linear": lambda v, o, d, n: losses.field_loss(v, losses.LINEAR, d.x, d.z, d.t, event_ndim=n),
    "field_loss": lambda v, o, d, n: losses.field_loss(v, losses.VARIANCE_EXPLODING, d.x, d.z, d.t, event_ndim=n),
    "denoising_loss": lambda v, o, d, n: (
        losses.edm_weight(d.t, 0.5) * losses.denoising_loss(v, d.x, d.z, d.t, event_ndim=n)
    ),
    "noise_prediction_loss": noise_prediction,
    "negative_log_likelihood": lambda v, o, d, n: losses.negative_log_likelihood(
        v(d.z, d.t, d.u), v(d.z, d.u, d.t), d.x, event_ndim=n
    ),
    "td_loss": lambda v, o, d, n: losses.td_loss(ensemble(v, d), d.value, 0.9 * d.t, d.u),
    "expectile_loss": lambda v, o, d, n: losses.expectile_loss(d.value - ensemble(v, d)[0], 0.7),
    "anchor_loss": lambda v, o, d, n: losses.anchor_loss(v(d.x, d.t, d.u), o(d.x, d.t, d.u), event_ndim=n),
    "normalised_q_loss": lambda v, o, d, n: losses.normalised_q_loss(jax.random.key(0), ensemble(v, d)),
    **{name: weighted(name) for name in losses.__all__ if name.endswith("_weights") and "moving" not in name},
    "moving_filter_weights": lambda v, o, d, n: (
        losses.moving_filter_weights(jnp.stack([d.value, d.t]), jnp.stack([d.t, d.u]), 0.7)
        * losses.denoising_loss(v, d.x, d.z, d.t, event_ndim=n)
    ),
}
EVERY = pytest.mark.parametrize("name", TABLE)


def run(name, params, data, event_ndim=1, target=None):
    """[B], the terms of a loss side by side [B, terms] where it has several."""
    found = TABLE[name](velocity_of(params), target or velocity_of(0.5 * params), data, event_ndim)
    return jnp.stack(found, axis=-1) if isinstance(found, tuple) else found


def close(found, expected, rtol=2e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6), found, expected)


def test_every_loss_is_in_the_table():
    assert {name.split(",")[0] for name in TABLE} == {
        name for name in losses.__all__ if name.endswith(("_loss", "_losses", "_weights", "_likelihood"))
    }


@EVERY
def test_transformations(name):
    """jit, vmap, grad, jvp, scan and remat each against what it means, one example at a time where it can."""
    params, data = draw_params(), draw()
    plain = run(name, params, data)
    assert plain.shape[:1] == (B,) and np.isfinite(plain).all()
    several = jnp.stack([params, 0.5 * params, -params])
    along = jnp.asarray(np.random.default_rng(1).normal(size=params.shape), params.dtype)

    @quick_jit
    def transformed(several, data):  # in one program, which is compiled sooner than several
        loss = lambda params: run(name, params, data)
        total = lambda params: jnp.sum(loss(params))
        gradients = jax.grad(total)(several[0]), jax.grad(jax.checkpoint(total))(several[0])
        scanned = jax.lax.scan(lambda carry, one: (carry, loss(one)), 0, several)[1]
        change = jax.jvp(total, (several[0],), (along,))[1]
        return jnp.stack([loss(one) for one in several]), jax.vmap(loss)(several), scanned, gradients, change

    each, mapped, scanned, (gradient, rematerialised), change = transformed(several, data)
    close(each[0], plain, rtol=1e-4)
    close(mapped, each)
    close(scanned, each)
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 1e-4
    close(rematerialised, gradient, rtol=1e-4)
    close(change, jnp.vdot(gradient, along), rtol=1e-4)


def test_pmap():
    params, data = jnp.stack([draw_params(), -draw_params()]), draw()
    loss = functools.partial(run, "trajectory_losses")
    found = jax.pmap(loss, in_axes=(0, None), devices=jax.devices()[:2])(params, data)
    close(found, jnp.stack([loss(one, data) for one in params]), rtol=1e-4)


# The other two stop gradients of what they differentiate: tests/test_family.py and tests/test_q_term.py have them.
@pytest.mark.parametrize("name", [name for name in TABLE if name not in ("mean_flow_loss", "normalised_q_loss")])
def test_gradients_are_those_of_finite_differences(name, x64):
    """In float64. What follows a target is held fixed by taking other parameters for it."""
    params, data = draw_params(np.float64), draw(np.float64)
    target = velocity_of(0.5 * params)
    total = quick_jit(jax.value_and_grad(lambda params: jnp.sum(run(name, params, data, target=target))))
    along = np.random.default_rng(1).normal(size=params.shape)
    difference = (total(params + 1e-5 * along)[0] - total(params - 1e-5 * along)[0]) / 2e-5
    np.testing.assert_allclose(np.vdot(total(params)[1], along), difference, rtol=1e-7)


@EVERY
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_the_type_of_the_result_is_that_of_the_data(name, dtype, x64):
    """With float64 switched on, when everything that is left open becomes float64: nothing narrows or widens."""
    params, data = draw_params(dtype), draw(dtype)
    total, gradient = jax.eval_shape(jax.value_and_grad(lambda p: jnp.sum(run(name, p, data))), params)
    assert {leaf.dtype for leaf in (total, gradient)} == {jnp.dtype(dtype)}


@EVERY
def test_float64_has_its_digits(name, x64):
    """A downcast anywhere inside would leave seven."""
    loss = quick_jit(functools.partial(run, name))
    exact, shifted = (loss(scale * draw_params(np.float64), draw(np.float64)) for scale in (1, 1 + 1e-12))
    single = loss(draw_params(), draw())
    assert exact.dtype == np.float64 and single.dtype == np.float32
    close(single, exact, rtol=1e-3)
    assert 0 < np.abs(shifted - exact).max() < 1e-9


@EVERY
def test_chunks_of_actions_are_flattened_actions(name):
    """[H, A] with event_ndim = 2 against the vector [H A], bit for bit, gradients too."""
    params, flat = draw_params(), draw()
    chunk = flat._replace(x=flat.x.reshape(B, H, A // H), z=flat.z.reshape(B, H, A // H))

    def both(data, event_ndim):
        # Step by step: a compiler may fuse, and so round, one of them otherwise.
        found, back = jax.vjp(lambda params: run(name, params, data, event_ndim), params)
        return found, back(jnp.ones_like(found))

    jax.tree.map(np.testing.assert_array_equal, both(chunk, 2), both(flat, 1))


@EVERY
def test_targets_get_no_gradient(name):
    """And the trained velocity does; through the jumps that consistency trajectory models compare after, too."""
    params, data = draw_params(), draw()
    total = lambda own, other: jnp.sum(run(name, own, data, target=velocity_of(other)))
    own, other = quick_jit(jax.grad(total, argnums=(0, 1)))(params, 0.5 * params)
    assert np.abs(own).max() > 1e-4
    if name == "soft_consistency_loss":  # its caller stops the parameters: the docstring says so
        assert np.abs(other).max() > 0
    else:
        assert (other == 0).all()


@EVERY
def test_numpy_goes_in(name):
    """Where the arrays of the other tests are JAX's."""
    data = draw()
    close(run(name, draw_params(), jax.tree.map(np.asarray, data)), run(name, draw_params(), data))


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        *(
            (name, {field: lambda d: d.t[:, None]}, r"\(6, 1\) must be \(6,\), one time for each example")
            for name, field in [
                *(("trajectory_losses", field) for field in ("t", "u", "tau")),
                *(("consistency_loss", field) for field in ("t", "u")),
                *(("soft_consistency_loss", field) for field in ("t", "u", "tau")),
                ("self_consistency_loss", "t"),
                *(("mean_flow_loss", field) for field in ("t", "u")),
                ("field_loss, linear", "t"),
            ]
        ),
        *(
            (name, {"z": lambda d: d.z[:, :1]}, r"noise z of shape \(6, 1\) must be shaped like the data, \(6, 4\)")
            for name in TABLE
            if name not in ("anchor_loss", "td_loss", "expectile_loss", "normalised_q_loss", "negative_log_likelihood")
        ),
    ],
)
def test_shapes_that_would_broadcast_are_refused_by_name(name, change, says):
    data = draw()
    data = data._replace(**{field: new(data) for field, new in change.items()})
    # A network that takes anything: the loss itself has to notice.
    with pytest.raises(ValueError, match=says):
        TABLE[name](velocity_of(draw_params()), lambda x, t, s: x, data, 1)


def test_values_that_would_broadcast_are_refused_by_name():
    q, each, column = jnp.ones((2, B)), jnp.ones(B), jnp.ones((B, 1))
    for place, name in enumerate(("reward", "discount", "next_value")):
        given = [each, each, each]
        given[place] = column
        with pytest.raises(ValueError, match=rf"{name} of shape \(6, 1\) must be \(6,\)"):
            losses.td_loss(q, *given)
    with pytest.raises(ValueError, match=r"q of shape \(6,\) must be \[E, B\]"):
        losses.normalised_q_loss(jax.random.key(0), each)
    with pytest.raises(ValueError, match="must be shaped alike"):
        losses.negative_log_likelihood(column, column, jnp.ones((B, A)))


WITH_TARGETS = ["trajectory_losses", "consistency_loss", "soft_consistency_loss", "self_consistency_loss"]
WITHOUT = ["mean_flow_loss", "field_loss, linear", "denoising_loss", "noise_prediction_loss"]


@pytest.mark.parametrize("name", WITH_TARGETS + WITHOUT)
def test_velocities_of_another_shape_are_refused_by_name(name):
    data, good, bad = draw(), velocity_of(draw_params()), lambda x, t, s: x[:, :1]
    for trained, other in ((bad, good), (good, bad)) if name in WITH_TARGETS else ((bad, good),):
        with pytest.raises(ValueError, match=r"returned shape \(6, 1\) for x of shape \(6, 4\)"):
            TABLE[name](trained, other, data, 1)


def test_samplers_take_chunks():
    """Several steps over [H, A] are those over the vector [H A], the new noise of a consistency model included."""
    params, data = draw_params(), draw()
    chunk = data.x.reshape(B, H, A // H)
    for sampler in (
        functools.partial(flow_map.follow, velocity_of(params)),
        lambda x, times, event_ndim: losses.renoising_sampler(
            velocity_of(params), jax.random.key(0), x, times, event_ndim=event_ndim
        ),
    ):
        grid = losses.Schedule().sampling_times(3)
        got, flat = sampler(chunk, grid, event_ndim=2), sampler(data.x, grid, event_ndim=1)
        np.testing.assert_array_equal(got.reshape(B, A), flat)
