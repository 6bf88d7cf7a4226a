"""What every policy class keeps: samples inside the bounds, new noise for a new key, finite at the ends of time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agents import BATCH, HIGH, LOW, compiled_policy, hparams, make_policy
from oracles import quick_jit

from gtp_jax import policies
from gtp_jax.declare import declared
from gtp_jax.flow import map as flow_map
from gtp_jax.flow.paths import LINEAR
from gtp_jax.flow.times import Times
from gtp_jax.policies import consistency, ctm, gtp, mean_flow, shortcut
from gtp_jax.types import Network

ROWS = 12
NAMES = policies.FAMILY.names()
EVERY_POLICY = pytest.mark.parametrize("name", NAMES)


@EVERY_POLICY
def test_samples(name):
    """Any leading axes, equal keys give equal actions, deterministic at temperature 0, other actions for other obs."""
    policy, params = compiled_policy(name)
    obs = 3 * np.random.default_rng(1).normal(size=(4, 5, 3)).astype(np.float32)
    actions, again, other = (np.asarray(policy.sample(params, jax.random.key(seed), obs, 2, 1.0)) for seed in (2, 2, 3))
    assert actions.shape == (4, 5, 2) and (actions >= LOW).all() and (actions <= HIGH).all()
    np.testing.assert_array_equal(actions, again)
    assert (actions != other).any()
    cold, cold_too = (np.asarray(policy.sample(params, jax.random.key(seed), obs, 2, 0.0)) for seed in (2, 3))
    np.testing.assert_array_equal(cold, cold_too)
    assert len(np.unique(cold.reshape(-1, 2), axis=0)) > 5


def cycled(values):
    return jnp.asarray(np.resize(np.array(values, np.float32), ROWS))


def extreme_grid_times(*_, **__):
    """t at both ends; u next to t on the finest grid, or so near that they differ by one bit; tau at 0 or at u."""
    t = np.resize(np.array([80.0, 80.0, 0.002, 0.002, 1e-4, 0.00201], np.float32), ROWS)
    u = np.where(np.arange(ROWS) % 2, np.nextafter(t, np.float32(0)), np.float32(0.99) * t)
    tau = np.where(np.arange(ROWS) % 3, u, 0)
    return Times(jnp.asarray(t), jnp.asarray(u), jnp.asarray(tau))


def cycled_times(shape):
    return Times(*(jnp.full(shape, value) for value in (1.0, 0.9, 0.5)))


def extreme_pairs(*_, **__):
    """(t, s) with s = t, s = 0, and t at both ends."""
    return cycled([1.0, 1.0, 1e-7, 0.0, 0.5, 1.0]), cycled([1.0, 0.0, 0.0, 0.0, 0.5, np.nextafter(1, 0)])


def extreme_jumps(*_, **__):
    """(t, d): the longest jump, the shortest, and none at all."""
    return cycled([1.0, 1.0, 2 * 2.0**-7, 0.0]), cycled([0.5, 2.0**-7, 2.0**-7, 0.0])


@EVERY_POLICY
def test_nothing_breaks_at_the_ends(name, monkeypatch):
    """Losses and gradients of every policy, in float32, where its times are replaced by the worst that there are."""
    replaced, field_loss = [], flow_map.field_loss

    def noted(function):
        return lambda *args, **kwargs: replaced.append(function) or function(*args, **kwargs)

    def at_the_ends(velocity, path, x, z, t, **kwargs):
        ends = [0.0, 1e-7, 1.0] if path is LINEAR else [0.0, 1e-7, 0.002, 80.0]
        return field_loss(velocity, path, x, z, cycled(ends), **kwargs)

    for module in (gtp, ctm, consistency):
        monkeypatch.setattr(module, "adjacent_times", noted(extreme_grid_times))
    monkeypatch.setattr(mean_flow, "ordered_times", noted(extreme_pairs))
    monkeypatch.setattr(shortcut, "dyadic_times", noted(extreme_jumps))
    monkeypatch.setattr(flow_map, "field_loss", noted(at_the_ends))
    policy, (_, params) = make_policy(name), compiled_policy(name)
    batch = jax.tree.map(lambda leaf: leaf[:ROWS], BATCH)

    @quick_jit
    def gradient(params, key):
        def loss(params):
            per_example, _ = policy.loss(params, params, key, batch, hparams(), jnp.int32(100))
            return jnp.mean(per_example), per_example

        (_, per_example), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        return per_example, gradient

    for seed in range(3):
        per_example, grads = gradient(params, jax.random.key(seed))
        assert per_example.dtype == jnp.float32 and np.isfinite(per_example).all()
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(grads)]
        assert all(np.isfinite(leaf).all() for leaf in leaves) and any((leaf != 0).any() for leaf in leaves)
    assert bool(replaced) == (name not in {"gaussian", "vp_diffusion"})  # those have no continuous time


@pytest.mark.parametrize("name", [name for name in NAMES if "target" in declared(policies.FAMILY[name].Settings)])
def test_the_target_is_the_one_chosen(name):
    (online, params), (ema, _) = compiled_policy(name), compiled_policy(name, target="ema")
    other = online.init(jax.random.key(5), BATCH)

    def loss(policy, target_params):
        return np.asarray(policy.loss(params, target_params, jax.random.key(1), BATCH, hparams(), jnp.int32(0))[0])

    if name != "ctm":  # its teacher follows the averaged parameters in any case
        np.testing.assert_array_equal(loss(online, params), loss(online, other))
    np.testing.assert_allclose(loss(online, params), loss(ema, params), rtol=1e-4, atol=1e-6)
    assert (loss(ema, other) != loss(ema, params)).any() and (loss(ema, other) != loss(online, other)).any()


def test_gtps_consistency_loss_is_weighted_over_the_times_that_are_drawn(monkeypatch):
    t = jnp.geomspace(0.01, 10, len(BATCH.reward))
    monkeypatch.setattr(gtp, "adjacent_times", lambda *_, **__: Times(t, 0.9 * t, 0.5 * t))
    losses, (_, params) = {}, compiled_policy("gtp")
    for weighting in ("balanced", "none"):
        policy, given = make_policy(consistency_weighting=weighting), hparams(lambda_flow=0.0)
        losses[weighting] = policy.loss(params, params, jax.random.key(1), BATCH, given, jnp.int32(0))[0]
    np.testing.assert_allclose(losses["balanced"], (t / 0.35 + 0.35 / t) / 2 * losses["none"], rtol=1e-5)


def test_gtp_draws_its_times_as_it_is_set(monkeypatch):
    asked = []
    monkeypatch.setattr(gtp, "adjacent_times", lambda key, shape, *given, **kw: asked.append(kw) or cycled_times(shape))
    policy, (_, params) = make_policy(gap="any", zero_share=0.6), compiled_policy("gtp")
    policy.loss(params, params, jax.random.key(1), BATCH, hparams(), jnp.int32(0))
    assert asked == [{"gap": "any", "zero_share": 0.6}]


@pytest.mark.parametrize("sampling", ["angles", "karras"])
@pytest.mark.parametrize("name", ["consistency", "ctm", "diffusion", "gtp"])
def test_the_sampler_stands_at_the_times_that_are_set(name, sampling):
    """From sigma_max, at equal angles of t / sigma_data or at Karras' points: what the network is asked for."""
    seen, module = [], policies.FAMILY[name]
    network = Network(lambda *_: {}, lambda params, obs, x, t, s: seen.append(float(t[0])) or jnp.zeros_like(x))
    given = {"network": network, "action_low": jnp.asarray(LOW), "action_high": jnp.asarray(HIGH)}
    given |= {} if name == "diffusion" else {"curriculum_updates": 80}
    policy = module.make(module.Settings(sigma_max=7.0, sigma_data=0.2, sampling=sampling), **given)
    policy.sample({}, jax.random.key(0), jnp.zeros((5, 3)), 3)
    angles = 0.2 * np.tan(np.arctan(7 / 0.2) * np.array([1, 2 / 3, 1 / 3]))
    karras = (7 ** (1 / 7) + np.array([0, 1 / 3, 2 / 3]) * (0.002 ** (1 / 7) - 7 ** (1 / 7))) ** 7
    np.testing.assert_allclose(seen, {"angles": angles, "karras": karras}[sampling], rtol=1e-5)


@pytest.mark.parametrize("name", ["consistency", "ctm", "gtp"])
def test_the_grid_grows_between_the_intervals_that_are_set(name, monkeypatch):
    module, asked = policies.FAMILY[name], []
    monkeypatch.setattr(
        module, "adjacent_times", lambda key, shape, schedule, n, **_: asked.append(int(n)) or cycled_times(shape)
    )
    policy, (_, params) = make_policy(name, first_intervals=4, intervals=30), compiled_policy(name)
    for step in (0, 19, 20, 40, 60, 1000):  # four stages of 80 updates
        policy.loss(params, params, jax.random.key(1), BATCH, hparams(), jnp.int32(step))
    assert asked == [4, 4, 8, 16, 30, 30]


@pytest.mark.parametrize(
    ("name", "setting", "value", "says"),
    [
        ("gtp", "teacher", "nonsense", "= 'nonsense' must be one of score, euler, heun"),
        ("diffusion", "solver", "hun", "did you mean 'heun'"),
        ("gtp", "sigma_min", 100.0, r"= 100.0 must be below policy.sigma_max = 10.0"),
        ("ctm", "rho", 0.5, "= 0.5 must be a number at least 1"),
        ("mean_flow", "adaptive_power", True, "= True must be a number at least 0"),
    ],
)
def test_settings_outside_their_declarations_are_refused(name, setting, value, says):
    with pytest.raises(ValueError, match=f"policy.{setting} .*{says}"):
        policies.FAMILY[name].Settings(**{setting: value})
