"""Calls of a loaded policy: shapes, bad arguments, padding, and its pure function under jit, vmap and scan."""

import copy
import functools
import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_trees_equal, random_batch

from gtp_jax.serving.policy import load_policy
from gtp_jax.training.train import TrainResult

pytestmark = pytest.mark.usefixtures("quick_compilation")
SEEDS, OBS, ACTIONS = (4, 9), 3, 2


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
