"""Tasks by their names and by the ids of their datasets, and the methods that are set for them."""

import pytest

from gtp_jax.config import methods, tasks
from gtp_jax.datasets import hosted


def test_names_and_ids_find_their_task():
    umaze = tasks.TASKS["antmaze-umaze"]
    assert tasks.find("antmaze", "umaze") == (umaze, "gtp/antmaze/umaze-v0")
    assert tasks.find("adroit", "pen-human")[1] == "D4RL/pen/human-v2"
    with pytest.raises(ValueError, match="unknown task 'hoper-medium'.*did you mean 'hopper-medium'"):
        tasks.find("gym", "hoper-medium")
    with pytest.raises(ValueError, match="is the task antmaze-umaze of another family than gym"):
        tasks.find("gym", "gtp/antmaze/umaze-v0")
    for name in ("gtp/antmaze/umaze-5k-v0", "gtp/antmaze/umaze-600-seed3-v0", "D4RL/antmaze/umaze-v2"):
        assert tasks.find("antmaze", name) == (umaze, name)
    own, name = tasks.find("antmaze", "mine/maze-v0")
    assert name == own.name == "mine/maze-v0" and own.diffusion_ql is own.embedded is None


def test_a_hosted_task_that_is_missing_names_the_command_of_its_stand_in(tmp_path):
    for name, command in (
        ("mujoco/walker2d/medium-v0", "gtp/walker2d/medium-v0 runs instead: --config=gym.py:walker2d-medium"),
        ("D4RL/antmaze/large-play-v1", "gtp/antmaze/large-play-v0 runs instead: --config=antmaze.py:large-play"),
        ("mujoco/ant/medium-v0", "No embedded task stands in for it yet"),
    ):
        assert command in hosted._message(name, tmp_path, "x")
    assert tasks.configuration(tasks.TASKS["pen-human"]) == "adroit.py:pen-human"


def test_every_paper_task_is_there_with_its_scores():
    """Nine of Gym, six of AntMaze; arXiv 2510.11499's averages of GTP are those of its tasks."""
    gym, antmaze = (tasks.of_family(name).values() for name in ("gym", "antmaze"))
    published = [[task.scores["GTP"] for task in family if "GTP" in task.scores] for family in (gym, antmaze)]
    assert [len(scores) for scores in published] == [9, 6]
    assert [sum(scores) / len(scores) for scores in published] == pytest.approx([89.0, 80.6], abs=0.051)
    assert all(task.embedded for task in (*gym, *antmaze))


def test_unknown_methods_and_tasks_are_refused():
    umaze = tasks.TASKS["antmaze-umaze"]
    with pytest.raises(ValueError, match="unknown method 'gtpp'; there are gtp, gtp-paper"):
        methods.overrides("gtpp", umaze)
    with pytest.raises(
        ValueError, match="diffusion-ql has published hyperparameters for antmaze-umaze, .* none for 'x'"
    ):
        methods.overrides("diffusion-ql", umaze._replace(name="x", diffusion_ql=None))
    hopper = tasks.TASKS["hopper-medium"]
    with pytest.raises(ValueError, match="gtp-subgoal has subgoals, .* places in a maze, and 'hopper-medium' has none"):
        methods.overrides("gtp-subgoal", hopper)
    assert methods.overrides("d-bc", umaze._replace(diffusion_ql=None))["policy.name"] == "vp_diffusion"
