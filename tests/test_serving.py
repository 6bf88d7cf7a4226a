"""Acting: seeds in one program, best-of-N against a loop, and refusal where nothing could choose."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_trees_equal, quick_jit, random_batch, settings_with

from gtp_jax.agent import build
from gtp_jax.agent.acting import BestOf, acting
from gtp_jax.agent.networks import q_network
from gtp_jax.datasets import Observer
from gtp_jax.runs.checkpoints import SCHEMA, Checkpoints, DamagedCheckpoint, Saved
from gtp_jax.serving.policy import LoadedPolicy, load_policy

SEEDS, ENVS, N, OBS, ACTIONS = (4, 9), 5, 6, 3, 2
TABLE = np.random.default_rng(0).normal(size=(len(SEEDS), N, ENVS, ACTIONS)).astype(np.float32)
TABLE_OBS = np.random.default_rng(1).normal(size=(len(SEEDS), ENVS, OBS)).astype(np.float32)


def table_sample(params, key, obs, num_steps, temperature):
    """A sampler whose candidates are known: parameters [N, n, A], times K and the temperature."""
    assert obs.shape == (N, ENVS, OBS)
    return num_steps * temperature * params


def test_best_of_n_is_a_naive_argmax():
    """One seed, one environment, one candidate at a time; each seed is judged by its own critic."""
    network = q_network(2, (8,))
    batch = random_batch(1, OBS, ACTIONS)
    init = quick_jit(jax.vmap(lambda key: network.init(key, batch.obs, batch.action)))
    critics = init(jax.random.split(jax.random.key(0), len(SEEDS)))
    best = BestOf(N, network.apply, critics)
    act = acting(table_sample, TABLE, SEEDS, num_steps=2, temperature=0.5, noise_seed=0, best=best)
    got = np.asarray(act(0, TABLE_OBS))
    assert got.shape == (len(SEEDS), ENVS, ACTIONS)

    q, chosen = quick_jit(network.apply), []
    for s in range(len(SEEDS)):
        own = jax.tree.map(lambda leaf, s=s: leaf[s], critics)
        for e in range(ENVS):
            values = [float(q(own, TABLE_OBS[s, e], TABLE[s, n, e]).min()) for n in range(N)]
            chosen.append(int(np.argmax(values)))
            np.testing.assert_array_equal(got[s, e], TABLE[s, chosen[-1], e])
    assert len(set(chosen)) > 2  # or always taking the same one would pass

    def choosing(inverse_temperature):
        softmax = best._replace(inverse_temperature=inverse_temperature)
        return acting(table_sample, TABLE, SEEDS, num_steps=2, temperature=0.5, noise_seed=0, best=softmax)

    np.testing.assert_array_equal(choosing(1e9)(0, TABLE_OBS), got)
    even = choosing(0.0)
    draws = np.stack([even(step, TABLE_OBS) for step in range(40)])
    assert (draws == got).all(-1).mean() < 0.6 and (draws.std(0) > 0).all()


def test_candidates_are_different_samples_and_best_of_one_is_plain_acting():
    """Through a real policy: with more candidates the critic's value of what acts does not fall, and rises for most."""
    settings = settings_with(policy__name="gaussian")
    policy = build.make_policy(settings["policy"], -np.ones(2, np.float32), np.ones(2, np.float32), 16)
    batch = random_batch(1, OBS, ACTIONS)
    params = quick_jit(jax.vmap(lambda key: policy.init(key, batch)))(jax.random.split(jax.random.key(0), 2))
    value = lambda params, obs, action: jnp.sum(action, axis=-1)[None]
    given = {"num_steps": 1, "temperature": 1.0, "noise_seed": 0}
    obs = np.random.default_rng(1).normal(size=(2, 50, OBS)).astype(np.float32)
    plain = np.asarray(acting(policy.sample, params, SEEDS, **given)(3, obs))
    means = [plain.sum(-1).mean()]
    for count in (1, 4, 16):
        best = BestOf(count, value, (jnp.zeros(2),))
        act = acting(policy.sample, params, SEEDS, **given, best=best)
        actions = np.asarray(act(3, obs))
        np.testing.assert_array_equal(actions, act(3, obs))
        means.append(actions.sum(-1).mean())
        if count == 1:
            np.testing.assert_allclose(actions, plain, rtol=1e-5, atol=1e-6)
    assert means[1] < means[2] - 0.1 < means[3] - 0.2


def test_a_seeds_noise_does_not_depend_on_its_neighbours():
    sample = lambda params, key, obs, num_steps, temperature: jax.random.normal(key, obs.shape) + params
    obs = np.zeros((2, ENVS, OBS), np.float32)
    given = {"num_steps": 1, "temperature": 1.0, "noise_seed": 0}
    both = np.asarray(acting(sample, jnp.zeros(2), SEEDS, **given)(3, obs))
    alone = np.asarray(acting(sample, jnp.zeros(1), SEEDS[1:], **given)(3, obs[1:]))
    np.testing.assert_array_equal(both[1], alone[0])
    later = np.asarray(acting(sample, jnp.zeros(2), SEEDS, **given)(4, obs))
    assert (both[0] != both[1]).all() and (both != later).all()


def loaded(directory, settings, obs_dim=OBS):
    """A LoadedPolicy from a checkpoint of two seeds as they were initialised, and their state."""
    agent, hparams = build.make(settings, -np.ones(ACTIONS, np.float32), np.ones(ACTIONS, np.float32))
    batch, keys = random_batch(1, obs_dim, ACTIONS), jax.random.split(jax.random.key(0), len(SEEDS))
    state = quick_jit(jax.vmap(lambda key: agent.init(key, batch, hparams)))(keys)
    observer = Observer("identity", np.zeros(obs_dim, np.float32), np.ones(obs_dim, np.float32))
    about = {
        "schema": SCHEMA,
        "settings": settings,
        "lanes": [{"seed": seed} for seed in SEEDS],
        "observer": observer.spec(),
    }
    about |= {"action_low": ACTIONS * [-1.0], "action_high": ACTIONS * [1.0]}
    checkpoints = Checkpoints(directory)
    checkpoints.save(
        1, jax.tree.map(np.asarray, Saved(state.policy_ema, state.critic_ema, {"step": state.step})), about
    )
    checkpoints.close()
    policy = LoadedPolicy(checkpoints.about(1), checkpoints, 1)
    checkpoints.close()
    return policy, state


def test_a_loaded_policy_multiplies_in_the_precision_of_its_run(tmp_path):
    settings = settings_with(policy__name="gaussian", guidance__name="none", matmul_precision="bfloat16")
    policy, _ = loaded(tmp_path, settings)
    alone = jax.tree.map(lambda leaf: leaf[0], policy.params)
    given = (alone, jax.random.key(0), jnp.zeros((1, OBS)), 1, jnp.float32(1))
    with jax.default_matmul_precision("float32"):  # as something else may have left it
        text = str(jax.make_jaxpr(policy.sampling, static_argnums=3)(*given))
    assert "HIGHEST" not in text
    policy.settings["matmul_precision"] = "float32"
    assert "HIGHEST" in str(jax.make_jaxpr(lambda *a: policy.sampling(*a[:3], 1, a[3]))(*given[:3], given[4]))


def test_a_checkpoint_of_another_layout_is_refused(tmp_path):
    with pytest.raises(ValueError, match="layout 1 by gtp_jax 0.0.9, and this version reads layout"):
        LoadedPolicy({"schema": 1, "versions": {"gtp_jax": "0.0.9"}}, Checkpoints(tmp_path), 1)


def test_several_candidates_without_a_critic_are_refused(tmp_path):
    policy, _ = loaded(tmp_path, settings_with(policy__name="gaussian", guidance__name="none"))
    given = {"num_steps": 1, "temperature": 1.0, "noise_seed": 0}
    with pytest.raises(ValueError, match="candidates = 2.*has no critic"):
        policy.acting(**given, candidates=2)
    assert policy.acting(**given, candidates=1)(0, TABLE_OBS).shape == (2, ENVS, ACTIONS)


def test_a_loaded_run_acts_by_its_averaged_critic(tmp_path):
    """Best-of-N from a checkpoint is best-of-N with the state's own parameters."""
    settings = settings_with(policy__name="gaussian", critic__name="expectile", guidance__name="unnormalised")
    policy, state = loaded(tmp_path, settings)
    given = {"num_steps": 1, "temperature": 1.0, "noise_seed": 7}
    made = build.make_policy(settings["policy"], -np.ones(2, np.float32), np.ones(2, np.float32), 16)
    best = BestOf(3, build.make_critic(settings["critic"]).q, state.critic_ema)
    expected = acting(made.sample, state.policy_ema, SEEDS, **given, best=best)(0, TABLE_OBS)
    got = policy.acting(**given, candidates=3)(0, TABLE_OBS)
    np.testing.assert_array_equal(got, expected)
    assert (np.asarray(got) != np.asarray(policy.acting(**given)(0, TABLE_OBS))).any()


def test_loading_passes_over_damaged_steps(tmp_path):
    """Named in a warning that points at the caller; a step that was asked for is no other one."""
    directory = tmp_path / "checkpoints"
    _, state = loaded(directory, settings_with(policy__name="gaussian", guidance__name="none"))
    checkpoints = Checkpoints(directory)
    later = jax.tree.map(lambda leaf: np.asarray(leaf) + 1, state.policy_ema)
    checkpoints.save(2, Saved(later, (), {"step": np.ones(2, np.int32)}), checkpoints.about(1))
    checkpoints.close()
    assert_trees_equal(load_policy(tmp_path).params, later)
    assert_trees_equal(load_policy(tmp_path, step=1).params, state.policy_ema)
    with pytest.raises(FileNotFoundError, match="holds no step 7; there are 1, 2"):
        load_policy(tmp_path, step=7)
    (directory / "2" / "digest" / "metadata").write_text("{}")
    with pytest.warns(UserWarning, match="passing over a damaged checkpoint: .*checkpoints/2") as caught:
        policy = load_policy(tmp_path)
    assert policy.step == 1 and caught[0].filename == __file__
    assert_trees_equal(policy.params, state.policy_ema)
    with pytest.raises(DamagedCheckpoint, match="checkpoints/2"):
        load_policy(tmp_path, step=2)
    (directory / "1" / "about" / "metadata").unlink()
    with (
        pytest.warns(UserWarning, match="checkpoints/"),
        pytest.raises(FileNotFoundError, match="holds no sound checkpoint"),
    ):
        load_policy(tmp_path)
