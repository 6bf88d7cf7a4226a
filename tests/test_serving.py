"""Acting: trials in one program, best-of-N against a loop, and policies loaded from checkpoints."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_trees_equal, quick_jit, random_batch
from toy import Untrained

from gtp_jax.agent.acting import BestOf, acting
from gtp_jax.agent.build import build_critic, build_policy
from gtp_jax.agent.networks import q_network
from gtp_jax.runs.checkpoints import DamagedCheckpoint
from gtp_jax.serving.policy import load_policy

pytestmark = pytest.mark.usefixtures("quick_compilation")
LOW, HIGH = -np.ones(2, np.float32), np.ones(2, np.float32)
ONCE = {"num_steps": 1, "temperature": 1.0, "noise_seed": 0}
SEEDS, ENVS, N, OBS, ACTIONS = (4, 9), 5, 6, 3, 2
TABLE = np.random.default_rng(0).normal(size=(len(SEEDS), N, ENVS, ACTIONS)).astype(np.float32)
TABLE_OBS = np.random.default_rng(1).normal(size=(len(SEEDS), ENVS, OBS)).astype(np.float32)


def table_sample(params, key, obs, num_steps, temperature):
    """A sampler whose candidates are known: parameters [N, n, A], times K and the temperature."""
    assert obs.shape == (N, ENVS, OBS)
    return num_steps * temperature * params


def test_best_of_n_is_a_naive_argmax():
    """One seed, one environment, one candidate at a time; each trial is judged by its own critic."""
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


def test_a_seeds_noise_does_not_depend_on_its_neighbours():
    sample = lambda params, key, obs, num_steps, temperature: jax.random.normal(key, obs.shape) + params
    obs = np.zeros((2, ENVS, OBS), np.float32)
    both = np.asarray(acting(sample, jnp.zeros(2), SEEDS, **ONCE)(3, obs))
    alone = np.asarray(acting(sample, jnp.zeros(1), SEEDS[1:], **ONCE)(3, obs[1:]))
    np.testing.assert_array_equal(both[1], alone[0])
    later = np.asarray(acting(sample, jnp.zeros(2), SEEDS, **ONCE)(4, obs))
    assert (both[0] != both[1]).all() and (both != later).all()


def test_candidates_are_different_samples_and_best_of_one_is_plain_acting(cloned):
    """Through a real policy: with more candidates the critic's value of what acts does not fall, and rises for most."""
    value = lambda params, obs, action: jnp.sum(action, axis=-1)[None]
    obs = np.random.default_rng(1).normal(size=(2, 50, OBS)).astype(np.float32)
    plain = np.asarray(cloned.policy.acting(**ONCE)(3, obs))
    means = [plain.sum(-1).mean()]
    for count in (1, 4, 16):
        best = BestOf(count, value, (jnp.zeros(2),))
        act = acting(cloned.policy.sampling, cloned.policy.params, SEEDS, **ONCE, best=best)
        actions = np.asarray(act(3, obs))
        np.testing.assert_array_equal(actions, act(3, obs))
        means.append(actions.sum(-1).mean())
        if count == 1:
            np.testing.assert_allclose(actions, plain, rtol=1e-5, atol=1e-6)
    assert means[1] < means[2] - 0.1 < means[3] - 0.2


def test_a_loaded_policy_multiplies_in_the_precision_of_its_run(tmp_path, cloned):
    def text(policy):
        given = (policy.params_of(0), jax.random.key(0), jnp.zeros((1, OBS)), 1, jnp.float32(1))
        return str(jax.make_jaxpr(policy.sampling, static_argnums=3)(*given))

    with jax.default_matmul_precision("float32"):  # as something else may have left it
        assert "HIGHEST" not in text(Untrained(tmp_path, guidance__name="none", matmul_precision="bfloat16").policy)
    assert "HIGHEST" in text(cloned.policy)


def test_what_needs_a_critic_is_refused_without(cloned):
    with pytest.raises(ValueError, match="candidates = 2.*has no critic"):
        cloned.policy.acting(**ONCE, candidates=2)
    assert cloned.policy.acting(**ONCE, candidates=1)(0, TABLE_OBS).shape == (2, ENVS, ACTIONS)
    with pytest.raises(ValueError, match="has no critic; train one with guidance"):
        cloned.policy.estimate_values(random_batch(4, OBS, ACTIONS))


def test_a_critic_of_states_alone_chooses_no_action(tmp_path):
    policy = Untrained(tmp_path, critic__name="value").policy
    with pytest.raises(ValueError, match="candidates = 2: critic.name = 'value' values states, not actions; use 1"):
        policy.acting(**ONCE, candidates=2)


def test_a_loaded_run_acts_and_values_by_its_averaged_critic(guided):
    """Best-of-N and values from a checkpoint are those with the state's own parameters."""
    policy, state, settings = guided.policy, guided.state, guided.settings
    critic = build_critic(settings, LOW, HIGH, None)
    best = BestOf(3, critic.q, state.critic_ema)
    sample = build_policy(settings, LOW, HIGH, None).sample
    expected = acting(sample, state.policy_ema, SEEDS, **ONCE, best=best)(0, TABLE_OBS)
    got = policy.acting(**ONCE, candidates=3)(0, TABLE_OBS)
    np.testing.assert_array_equal(got, expected)
    assert (np.asarray(got) != np.asarray(policy.acting(**ONCE)(0, TABLE_OBS))).any()
    batch = random_batch(4, OBS, ACTIONS)
    own = jax.tree.map(lambda leaf: leaf[1], state.critic_ema)
    direct = critic.evaluate(own, own, batch, None, None, {"discount": 0.99})
    for one, two in zip(policy.estimate_values(batch, trial=1), direct, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_loading_passes_over_damaged_steps(tmp_path):
    """Named in a warning that points at the caller; a step that was asked for is no other one."""
    run = Untrained(tmp_path, guidance__name="none")
    later = jax.tree.map(lambda leaf: np.asarray(leaf) + 1, run.state.policy_ema)
    run.save(2, later)
    assert_trees_equal(load_policy(tmp_path).params, later)
    assert_trees_equal(load_policy(tmp_path, step=1).params, run.state.policy_ema)
    with pytest.raises(FileNotFoundError, match="holds no step 7; there are 1, 2"):
        load_policy(tmp_path, step=7)
    (run.folder / "2" / "digest" / "metadata").write_text("{}")
    with pytest.warns(UserWarning, match="passing over a damaged checkpoint: .*checkpoints/2") as caught:
        policy = load_policy(tmp_path)
    assert policy.step == 1 and caught[0].filename == __file__
    assert_trees_equal(policy.params, run.state.policy_ema)
    with pytest.raises(DamagedCheckpoint, match="checkpoints/2"):
        load_policy(tmp_path, step=2)
    (run.folder / "1" / "info" / "metadata").unlink()
    with (
        pytest.warns(UserWarning, match="checkpoints/"),
        pytest.raises(FileNotFoundError, match="holds no sound checkpoint"),
    ):
        load_policy(tmp_path)


def test_a_directory_without_checkpoints_is_named(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no finished checkpoint yet"):
        load_policy(tmp_path)
