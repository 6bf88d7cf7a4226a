"""Built-in locomotion data, each dataset from its own controllers."""

import json

import numpy as np
import pytest
from runs import summary_of

import gtp_jax
from gtp_jax import datasets
from gtp_jax.datasets.builtin import rollouts
from gtp_jax.datasets.builtin.locomotion import BODIES, LOCOMOTION
from gtp_jax.runs import scores

EVERY = [collection for collections in LOCOMOTION.values() for collection in collections.values()]


def short(collection, index, steps=3):
    """An episode cut after some steps."""
    controllers = [collection.controller(name) for name in collection.controllers]
    with collection.eval_env().make_env() as env:
        rollout = rollouts.Rollout(collection, env, seed=0, index=index)
        for _ in range(steps):
            rollout.step(controllers[rollout.controller](*(part[None] for part in rollout.inputs()))[0])
    return rollout.episode()


@pytest.mark.parametrize("collection", EVERY, ids=lambda each: f"{each.family}-{each.name}")
def test_every_collection_moves_its_body(collection):
    _, observation_size, action_size = BODIES[collection.family]
    first, again, other = (short(collection, index) for index in (4, 4, 5))
    assert first.observations.shape == (4, observation_size) and first.actions.shape == (3, action_size)
    assert first.observations.dtype == np.float32 and (np.abs(first.actions) <= 1).all() and first.options == {}
    np.testing.assert_array_equal(first.actions, again.actions)
    assert first.seed != other.seed and (first.actions != other.actions).any()
    assert scores.scale(collection.eval_env()).name == "normalised return"


def test_names_alone_tell_which_settings_fit():
    hopper, umaze = "gtp/hopper/medium-300-v0", "gtp/antmaze/umaze-v0"
    with pytest.raises(ValueError, match='episodes = "successful" needs a goal that is reached, and these'):
        datasets.check_dataset(hopper, episodes="successful")
    for dataset_id, observation in ((hopper, "maze-scales"), (hopper, "observation"), (umaze, "identity")):
        with pytest.raises(ValueError, match=f"{dataset_id}: data.observation = '{observation}' must be one of "):
            datasets.check_dataset(dataset_id, observation=observation)
    datasets.check_dataset(hopper, observation="identity")
    datasets.check_dataset(umaze, observation="observation", episodes="successful")


def test_actions_bring_back_observations_and_noise_is_as_stated(tmp_path):
    data = datasets.load("gtp/hopper/medium-300-v0", root=tmp_path, standardise=False)
    metadata = json.loads((tmp_path / data.id / "data" / "metadata.json").read_text())
    assert "hopper_" in metadata["description"] and metadata["ref_max_score"] == 3234.3
    assert data.maze is None and data.summary["behaviour_success"] is None and data.summary["observation"] == "identity"
    with data.make_env() as env:
        seen, _ = env.reset(seed=short(LOCOMOTION["hopper"]["medium"], 0).seed)
        for i in range(int((data.episode == 0).sum())):
            np.testing.assert_array_equal(data.batch.obs[i], np.float32(seen))
            seen, reward, *_ = env.step(data.batch.action[i])
            assert data.batch.reward[i] == np.float32(reward)
    clean = LOCOMOTION["hopper"]["medium"].controller("hopper_120000.npz")(data.batch.obs)
    inside = np.abs(clean) < 0.7  # where 3 deviations of noise are not clipped
    assert inside.sum() > 300
    np.testing.assert_allclose((data.batch.action - clean)[inside].std(), 0.1, rtol=0.15)


@pytest.mark.slow
def test_a_run_from_nothing_scores_normalised_returns(runner, tmp_path):
    """`--config=gym.py:TASK,METHOD`, shrunk: collected, trained, evaluated, and loaded again."""
    changes = {"config": "gym.py:hopper-medium,gtp-conditioned", "dataset": "gtp/hopper/medium-600-v0", "num_seeds": 2}
    output = runner(f"--workdir={tmp_path / 'run'}", **changes)
    assert "value critic" in output and "behaviour policy" not in output
    summary, episodes = summary_of(tmp_path / "run"), json.loads((tmp_path / "run" / "episodes.json").read_text())
    assert summary["env"] == "Hopper-v5" and not (tmp_path / "run" / "maze.png").exists()
    assert episodes["success"] is None and summary["score"]["per_seed"] == np.mean(episodes["score"], axis=1).tolist()
    assert all(0 < score < 40 for score in np.ravel(episodes["score"]))  # it falls at once, and falling scores 1 or so
    policy = gtp_jax.load_policy(tmp_path / "run")
    action = policy(np.zeros(11), trial=1)
    assert action.shape == (3,) and (np.abs(action) <= 1).all()
