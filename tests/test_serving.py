"""Acting: trials in one program, best-of-N against a loop, and policies loaded from checkpoints."""

import copy
import functools
import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor

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
from gtp_jax.training.train import TrainResult

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


@pytest.fixture(scope="module")
def cloned(tmp_path_factory):
    return Untrained(tmp_path_factory.mktemp("cloned"), SEEDS, guidance__name="none")


@pytest.fixture(scope="module")
def guided(tmp_path_factory):
    changes = {"critic__name": "expectile", "guidance__name": "unnormalised"}
    return Untrained(tmp_path_factory.mktemp("guided"), SEEDS, **changes)


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


def test_actions_have_the_leading_axes_of_the_observations(cloned):
    policy, obs = cloned.policy, np.random.default_rng(0).normal(size=(2, 5, OBS))
    assert policy(obs[0, 0]).shape == (ACTIONS,) and policy(obs).shape == (2, 5, ACTIONS)
    assert policy(obs, trial=None).shape == (len(SEEDS), 2, 5, ACTIONS)
    for trial in range(len(SEEDS)):
        np.testing.assert_allclose(policy(obs, trial=None)[trial], policy(obs, trial=trial), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(policy(obs), policy(obs))
    assert (policy(obs) != policy(obs, key=jax.random.key(1))).any()
    keys = [jax.random.key(seed) for seed in (1, 2)]
    np.testing.assert_array_equal(*(policy(obs, key=key, temperature=0) for key in keys))
    action = policy(obs)
    action *= 0.5  # the caller's own, writable array
    assert policy.seeds == SEEDS and policy.settings == cloned.settings and policy.info == cloned.info


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"num_steps": 0}, "num_steps = 0 must be a whole number"),
        ({"num_steps": 2.0}, "num_steps = 2.0 must be a whole number"),
        ({"temperature": -1.0}, "temperature = -1.0 must be at least 0 and finite"),
        ({"temperature": np.inf}, "temperature = inf must be"),
        ({"temperature": "1"}, "temperature = '1' must be"),
        ({"temperature": np.zeros(2)}, r"temperature = array\(\[0., 0.\]\) must be"),
        ({"num_steps": True}, "num_steps = True must be a whole number"),
        ({"num_steps": 2**31}, "num_steps = 2147483648 must be a whole number at least 1, at most 1,024"),
        ({"trial": "x" * 9999}, "^.{,300}$"),
        ({"trial": 2}, r"trial = 2: this run has 2 trials, counted from 0 \(seeds 4, 9\); .*trial=None"),
        ({"trial": -1}, "trial = -1"),
        ({"trial": True}, "trial = True"),
        ({"trial": 1.0}, "trial = 1.0"),
        ({"key": 3}, r"key = '3' must be one JAX key, as jax.random.key\(0\) gives"),
        ({"key": np.zeros(2)}, "must be one JAX key"),
        ({"key": jax.random.split(jax.random.key(0))}, "must be one JAX key"),
    ],
)
def test_impossible_arguments_are_named(cloned, given, says):
    with pytest.raises(ValueError, match=says):
        cloned.policy(np.zeros(OBS), **given)


def test_a_parameter_set_is_that_of_a_trial(cloned):
    for trial in (2, -1, None):  # where JAX would take the last one, or make a new axis
        with pytest.raises(ValueError, match=f"trial = {trial}: this run has 2 trials"):
            cloned.policy.params_of(trial)
    assert_trees_equal(cloned.policy.params_of(jnp.array(1)), cloned.policy.params_of(np.int64(1)))


@pytest.mark.parametrize(
    ("obs", "says"),
    [
        ([[0, 0, 0], [0, np.nan, 0]], r"obs is not finite: number 1 of the flat observation at \(1,\) is nan"),
        ([0, 0, 1e300], r"obs is not finite: number 2 of the flat observation at \(\) is inf"),
        ((np.zeros(OBS), {}), "pass the observation alone"),
        (np.zeros((4, 5)), r"expects an array \[\*B, 3\], got shape \(4, 5\)"),
        (1.0, r"got shape \(\)"),
        ({"observation": np.zeros(OBS)}, "got a dict with keys"),
        ([[0, 0, 0], [0]], "must be an array of numbers: .*inhomogeneous"),
        (["1", "2", "3"], "must be an array of numbers, got list of <U1"),
        (None, "got NoneType of object"),
        (np.zeros(OBS, complex), "got ndarray of complex128"),
        (np.ma.masked_array(np.zeros(OBS), [0, 1, 0]), "masked"),
        ([10**400] * OBS, "an observation must be an array of numbers"),
        ({"a": np.zeros(OBS), 3: np.zeros(OBS)}, "got a dict with keys \\['3', 'a'\\]"),
        (jax.random.key(0), "an observation must be an array of numbers"),
    ],
)
def test_observations_that_no_environment_gives_are_refused(cloned, obs, says):
    act = functools.partial(cloned.policy.act, cloned.policy.params_of(0), jax.random.key(0))
    finite = not says.startswith("obs is not finite")  # which alone `act` cannot know
    for call in (cloned.policy, act) if finite and not isinstance(obs, tuple) else (cloned.policy,):
        with pytest.raises(ValueError, match=says if call is cloned.policy else "observation|expects") as refused:
            call(obs)
        assert "\n" not in str(refused.value)


class Convertible:
    """As another library's array."""

    def __array__(self, dtype=None, copy=None):
        return np.arange(6, dtype=dtype).reshape(2, OBS)


def test_observations_of_any_kind_of_array_are_one(cloned):
    policy, obs = cloned.policy, np.arange(6.0).reshape(2, OBS)
    frozen = obs.copy()
    frozen.setflags(write=False)
    strided = np.repeat(obs, 2, axis=0)[::2]
    kinds = [obs.astype(dtype) for dtype in (int, np.uint8, np.float16, ">f8")] + [
        np.asfortranarray(obs),
        Convertible(),
    ]
    for same in (*kinds, frozen, strided, obs.tolist(), jnp.asarray(obs, jnp.bfloat16), np.ma.masked_array(obs)):
        np.testing.assert_array_equal(policy(same), policy(obs))
    np.testing.assert_array_equal(policy(obs, key=jax.random.key(5)), policy(obs, key=jax.random.PRNGKey(5)))
    large = np.full(OBS, 2**40)  # which JAX's own integers do not hold
    act = functools.partial(policy.act, policy.params_of(0), jax.random.key(0))
    np.testing.assert_array_equal(act(large), act(large.astype(float)))


def test_batches_are_padded_so_that_few_programs_serve_all_sizes(cloned):
    """And an observation's noise is that of its number in the batch; threads share the programs."""
    policy, key = copy.copy(cloned.policy), jax.random.key(3)
    obs = np.random.default_rng(0).normal(size=(4, 10, OBS))
    every = np.asarray(jax.jit(policy.act)(policy.params_of(1), key, obs)).reshape(40, ACTIONS)
    assert len(np.unique(every)) > 40
    flat, own = obs.reshape(40, OBS), {"key": key, "trial": 1}
    with ThreadPoolExecutor(4) as pool:
        batches = list(pool.map(lambda size: policy(flat[:size], **own), range(41)))
    for size, actions in enumerate([*batches, policy(obs, **own), policy(flat[0], **own)]):
        np.testing.assert_allclose(actions.reshape(-1, ACTIONS), every[: actions.size // ACTIONS], rtol=1e-5, atol=1e-6)
        assert size > 40 or actions.shape == (size, ACTIONS)
    assert policy._sample._cache_size() == 7  # of 1, 2, 4, ..., 64
    assert policy(obs[:0], trial=None).shape == (2, 0, 10, ACTIONS)


def test_act_is_a_call_under_jit_vmap_and_scan(cloned):
    policy, keys = copy.copy(cloned.policy), jax.random.split(jax.random.key(1), 3)
    obs = np.random.default_rng(0).normal(size=(5, OBS))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    _, steps = jax.lax.scan(lambda obs, key: (obs, policy.act(policy.params_of(1), key, obs)), jnp.asarray(obs), keys)
    act = jax.jit(policy.act)
    one = act(policy.params_of(1), keys[0], obs, temperature=0.5)
    close(one, policy(obs, key=keys[0], trial=1, temperature=0.5))
    trials = jax.vmap(act, in_axes=(0, None, None))(policy.params, keys[0], obs)
    close(trials, policy(obs, key=keys[0], trial=None))
    rows = jax.vmap(act, in_axes=(None, None, 0))(policy.params_of(0), keys[0], obs)
    close(rows, [policy(each, key=keys[0]) for each in obs])
    close(steps, [policy(obs, key=key, trial=1) for key in keys])
    close(jax.jit(lambda: policy(obs))(), policy(obs))  # constants

    for call in (jax.jit(policy), jax.vmap(policy)):
        with pytest.raises(ValueError, match="cannot be traced; under jit, vmap, grad or scan use policy.act"):
            call(obs)
    with pytest.raises(ValueError, match=r"expects an array \[\*B, 3\], got shape \(5, 2\)"):
        jax.jit(policy.act)(policy.params_of(0), keys[0], obs[:, :2])
    with pytest.raises(ValueError, match=r"params must be one trial's: policy.params_of\(trial\)"):
        jax.jit(policy.act)(policy.params, keys[0], obs)
    with pytest.raises(ValueError, match="num_steps = .* must be a whole number at least 1.* .static under jit"):
        jax.jit(policy.act)(policy.params_of(0), keys[0], obs, 3)


def test_policies_are_pickled_and_copied(guided):
    policy, obs, batch = guided.policy, np.ones((4, OBS)), random_batch(4, OBS, ACTIONS)
    result = pickle.loads(pickle.dumps(TrainResult({"score": None}, policy)))
    for same in (result.policy, copy.deepcopy(policy)):
        assert (same.info, same.step, repr(same)) == (policy.info, policy.step, repr(policy))
        np.testing.assert_array_equal(same(obs, trial=None), policy(obs, trial=None))
    assert_trees_equal(result.policy.estimate_values(batch, trial=1), policy.estimate_values(batch, trial=1))
    rebuild, (info, *rest) = policy.__reduce__()
    info["settings"]["policy"]["name"] = "outside"
    with pytest.raises(ValueError, match=r"cannot be unpickled: policy.name = 'outside' .* gtp_jax.policies.register"):
        rebuild(info, *rest)


def test_a_forked_process_is_told_what_to_do_and_does_not_wait_for_ever(cloned, monkeypatch, tmp_path):
    """A policy that a forked pool hands over is refused where it acts: in reading it no pool passes an error on."""
    pickled = pickle.dumps(cloned.policy)
    monkeypatch.setattr("gtp_jax.serving.arguments.os.getpid", lambda: -1)
    for act in (cloned.policy, pickle.loads(pickled), lambda _: load_policy(cloned.directory)):
        with pytest.raises(RuntimeError, match=r'does not survive a fork .*get_context\("spawn"\)'):
            act(np.zeros(OBS))


@pytest.mark.slow
def test_a_policy_acts_in_a_spawned_pool(cloned):
    obs = np.random.default_rng(0).normal(size=(3, 2, OBS))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_allclose(pool.map(cloned.policy, obs), [*map(cloned.policy, obs)], rtol=1e-5, atol=1e-6)


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
    critic = build_critic(settings, None)
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
