"""Networks: the one-exponential Mish, time embeddings, ensembles that are really several networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import quick_jit

from gtp_jax.agent.networks import ACTIVATIONS, flow_network, mish, of_columns, q_network, time_embedding, v_network


def compiled(network):
    """Compiled as a whole: operation by operation, compilation takes most of the tests' time."""
    return network._replace(init=quick_jit(network.init), apply=quick_jit(network.apply))


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def test_mish_and_its_gradient_in_float32():
    """Against x tanh(s) and tanh(s) + x sigmoid(x) (1 - tanh(s)^2) with s = softplus(x), in float64.

    The value falls to -1.7e-16 at -40.
    """
    gradient = quick_jit(jax.vmap(jax.grad(mish)))
    x = np.linspace(-40, 60, 20_001).astype(np.float32)
    wide = x.astype(np.float64)
    factor = np.tanh(np.logaddexp(0, wide))
    np.testing.assert_allclose(mish(x), wide * factor, rtol=1e-6)
    exact = factor + wide / (1 + np.exp(-wide)) * (1 - factor) * (1 + factor)
    np.testing.assert_allclose(gradient(x), exact, rtol=1e-5, atol=1e-6)
    far = jnp.array([-1e4, -100.0, 100.0, 1e4])
    np.testing.assert_allclose(mish(far), [0, 0, 100, 1e4], atol=1e-30)
    np.testing.assert_allclose(gradient(far), [0, 0, 1, 1], atol=1e-30)


def test_time_embedding():
    t = jnp.array([0.0, 1e-4, 0.002, 0.0021, 80.0])
    embed = quick_jit(time_embedding, static_argnames="width")
    embedded = np.asarray(embed(t))
    assert embedded.shape == (5, 16) and np.isfinite(embedded).all()
    np.testing.assert_array_equal(embedded[0], embedded[1])  # below the floor
    distance = np.linalg.norm(embedded[None] - embedded[:, None], axis=-1)[1:, 1:]
    assert (distance[~np.eye(4, dtype=bool)] > 0.1).all()  # neighbours of the grid differ
    np.testing.assert_allclose(embed(t.reshape(5, 1)), embedded[:, None], atol=1e-6)
    assert embed(jnp.float32(1.0), width=4).shape == (4,)
    assert np.isfinite(quick_jit(jax.vmap(jax.jacobian(time_embedding)))(t)).all()


def test_flow_network_depends_on_all_of_its_inputs():
    network = compiled(flow_network(2, (8, 8)))
    inputs = [normal(6, 3), normal(6, 2), np.ones(6, np.float32), np.ones(6, np.float32)]
    params = network.init(jax.random.key(9), *inputs)
    out = network.apply(params, *inputs)
    assert out.shape == (6, 2)
    for i in range(4):
        changed = [value + 1 if i == j else value for j, value in enumerate(inputs)]
        assert (np.asarray(network.apply(params, *changed)) != np.asarray(out)).all()


def test_flow_network_broadcasts_leading_axes():
    """One observation for many noised actions, without repeating it."""
    network = compiled(flow_network(2, (8, 8)))
    obs, x, t = normal(1, 6, 3), normal(4, 6, 2), np.linspace(0, 80, 6, dtype=np.float32)[None]
    params = network.init(jax.random.key(9), obs, x, t, t)
    out = network.apply(params, obs, x, t, 0 * t)
    for i in range(4):
        single = network.apply(params, obs[0], x[i], t[0], 0 * t[0])
        np.testing.assert_allclose(out[i], single, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_an_ensemble_is_several_networks(layer_norm):
    network, one = (compiled(q_network(size, (8, 8), layer_norm=layer_norm)) for size in (3, 1))
    obs, action = normal(5, 4, 3), normal(5, 4, 2)
    params = network.init(jax.random.key(2), obs, action)
    q = np.asarray(network.apply(params, obs, action))
    assert q.shape == (3, 5, 4)
    for i in range(3):
        member = jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], params)
        np.testing.assert_allclose(q[i], one.apply(member, obs, action)[0], rtol=1e-5, atol=1e-6)
        assert all((q[i] != q[j]).all() for j in range(i))
    has_norm = any("LayerNorm" in jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params))
    assert has_norm == layer_norm


def test_a_network_of_some_columns_sees_no_others():
    columns, obs = (2, 0), normal(5, 4, 3)
    network, inner = compiled(of_columns(v_network((8,)), columns)), compiled(v_network((8,)))
    params = network.init(jax.random.key(0), obs)
    value = network.apply(params, obs)
    assert value.shape == (5, 4)
    np.testing.assert_array_equal(value, inner.apply(params, obs[..., [2, 0]]))
    np.testing.assert_array_equal(value, network.apply(params, obs + np.array([0, 7, 0], np.float32)))


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_by_name(name):
    network = compiled(v_network((8,), name))
    obs = normal(4, 3)
    params = network.init(jax.random.key(0), obs)
    kernels = [np.asarray(params["params"][f"Dense_{i}"]["kernel"]) for i in range(2)]
    hidden = np.asarray(ACTIVATIONS[name](obs @ kernels[0]))
    np.testing.assert_allclose(network.apply(params, obs), (hidden @ kernels[1])[:, 0], atol=1e-6)
