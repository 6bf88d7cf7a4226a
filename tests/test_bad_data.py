"""Data that cannot be trained on are refused by dataset, episode, field and index; sound data load as they are."""

import json
import re

import h5py
import numpy as np
import pytest
import stored
from hypothesis import HealthCheck, example, given, settings, strategies
from stored import OTHERS, box, write

from gtp_jax import datasets
from gtp_jax.config.settings import Settings
from gtp_jax.runs.terminal import Terminal
from gtp_jax.training.loop import Training

EVERY_CASE = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def load(root, **options):
    return datasets.load("test/x-v0", root=root, **{"standardise": False} | options)


def refused(root, says, *written, options=None, **metadata):
    """Asserts that what is written is refused in one line with these words; returns the line."""
    if written:
        write(root, "test/x-v0", *written, **metadata)
    text = stored.refusal(lambda: load(root, **options or {}))
    assert text.startswith("test/x-v0: ") and says in text, text
    return text


@strategies.composite
def sound(draw):
    """Sound episodes of every type of numbers that may stand in a file."""
    types = ("f2 f4 f8 i1 u2 i8", "f2 f4 f8", "f4 f8 i4 u1", "? u1 i8", "? u1")
    drawn = (draw(strategies.sampled_from(some.split())) for some in types)
    kinds = dict(zip(("observations", *OTHERS), drawn, strict=True))
    numbers = np.random.default_rng(draw(strategies.integers(0, 2**32)))
    scale, all_terminal = draw(strategies.sampled_from([1e-30, 1.0, 1e30])), draw(strategies.booleans())
    episodes = []
    for steps in draw(strategies.lists(strategies.integers(1, 6), min_size=1, max_size=4)):
        arrays = stored.episode(steps, numbers)
        for path, array in arrays.items():
            if kinds[path][0] in "iu":
                array = numbers.integers(0, 2 if path in OTHERS[2:] else 100, array.shape)
            elif path in ("observations", "rewards") and kinds[path] in ("f4", "f8"):
                array = array * scale
            arrays[path] = array.astype(kinds[path])
        arrays["terminations"][:] |= all_terminal  # which is sound
        episodes.append(arrays)
    return episodes


@EVERY_CASE
@given(sound())
@example([stored.episode(1)])  # a single transition is sound, too
def test_sound_data_load_with_every_value_equal(tmp_path, episodes):
    write(tmp_path, "test/x-v0", episodes)
    data = load(tmp_path)
    rows = [np.concatenate([e[path] for e in episodes]).astype(np.float32) for path in OTHERS]
    np.testing.assert_array_equal(data.batch.action, rows[0])
    np.testing.assert_array_equal(data.batch.reward, rows[1])
    np.testing.assert_array_equal(data.batch.discount, 1 - rows[2])
    for got, part in ((data.batch.obs, slice(None, -1)), (data.batch.next_obs, slice(1, None))):
        expected = np.concatenate([e["observations"][part] for e in episodes]).astype(np.float32)
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(data.episode, np.repeat(range(len(episodes)), [len(e["rewards"]) for e in episodes]))


BAD_VALUES = {
    "observations": [("f8", np.nan), ("f4", np.inf), ("f2", -np.inf), ("f8", 1e39), ("f8", -1e300), ("i8", 2**24 + 1)],
    "actions": [("f4", np.nan), ("f8", np.inf), ("f4", 1.001), ("f8", -2.0), ("f8", 1e300), ("f2", -np.inf)],
    "rewards": [("f8", np.nan), ("f4", -np.inf), ("f8", 3.5e38), ("i8", -(2**24) - 1), ("u8", 2**63), ("i8", 2**62)],
    "terminations": [("u1", 2), ("i8", -1)],
    "truncations": [("i4", 255), ("u1", 7)],
}


@EVERY_CASE
@given(strategies.data())
def test_one_bad_value_is_named_exactly(tmp_path, data):
    lengths = data.draw(strategies.lists(strategies.integers(1, 5), min_size=1, max_size=4))
    path = data.draw(strategies.sampled_from(sorted(BAD_VALUES)))
    kind, value = data.draw(strategies.sampled_from(BAD_VALUES[path]))
    episodes = [stored.episode(steps) for steps in lengths]
    for arrays in episodes:
        arrays[path] = arrays[path].astype(kind) if kind[0] == "f" else np.zeros_like(arrays[path], kind)
    bad = data.draw(strategies.integers(0, len(episodes) - 1))
    index = tuple(data.draw(strategies.integers(0, size - 1)) for size in episodes[bad][path].shape)
    episodes[bad][path][index] = value
    stated = f"episode {bad}, first at index {list(index)}, {path}: {np.dtype(kind).type(value)} is "
    text = refused(tmp_path, stated, episodes)
    assert "mend the file" in text and ("not finite" in text) == (not np.isfinite(value))
    assert (path == "actions" and 1 < abs(value) < 1e30) == ("is outside [-1, 1]" in text)


NUMBERS = "expected floats or integers, got"
FIELDS = [  # of episode 1, how its array is changed, and what the error says
    ("rewards", lambda a: np.array([b"one"] * len(a)), f"{NUMBERS} |S3"),
    ("rewards", lambda a: a > 0, f"{NUMBERS} bool"),
    ("rewards", lambda a: a[:, None], "expected an array of one axis, got (3, 1)"),
    ("rewards", lambda a: a[0], "expected an array of one axis, got ()"),
    ("observations", lambda a: a.astype(complex), f"{NUMBERS} complex128"),
    ("observations", lambda a: a > 0, f"{NUMBERS} bool"),
    ("observations", lambda a: a[:-1], "expected shape (4, 4), got (3, 4)"),
    ("observations", lambda a: a[:, 0], "expected shape (4, 4), got (4,)"),
    ("actions", lambda a: np.array(["x"] * a.size, object).reshape(a.shape), "expected floats, got object"),
    ("actions", lambda a: a.astype(int), "expected floats, got int64"),
    ("actions", lambda a: a[:-1], "expected shape (3, 2), got (2, 2)"),
    ("terminations", lambda a: a.astype(float), "expected booleans or integers, got float64"),
    ("truncations", lambda a: np.tile(a, 2), "expected shape (3,), got (6,)"),
]


@pytest.mark.parametrize(("path", "change", "says"), FIELDS)
def test_fields_of_another_type_or_shape_are_named(tmp_path, path, change, says):
    bad = stored.episode(3)
    replaced = change(bad[path])

    def replace(file):
        del file[f"episode_1/{path}"]
        dtype = h5py.string_dtype() if replaced.dtype == object else None
        file["episode_1"].create_dataset(path, data=replaced, dtype=dtype)

    refused(tmp_path, f"episode 1, {path}: {says}", [stored.episode(2), bad], replace)


def test_missing_and_additional_parts_are_named(tmp_path):
    one = [stored.episode(2)]
    for path in ("observations", *OTHERS):
        refused(tmp_path, f"episode 0, {path} is missing", one, lambda file, path=path: file["episode_0"].pop(path))
    for count in (0, 1, 3):
        refused(tmp_path, f"states {count} episodes, and the file holds 2", 2 * one, total_episodes=count)
    refused(tmp_path, "holds no episodes; delete it", [])
    empty = {path: array[:1] if path == "observations" else array[:0] for path, array in stored.episode(1).items()}
    refused(tmp_path, "episode 1 has no transitions", [*one, empty])
    refused(tmp_path, "episode 0 is missing", one, lambda file: file.move("episode_0", "episode_7"))
    no_group = lambda file: file.create_dataset("episode_0", data=[1.0])
    refused(tmp_path, "episode 0 is no group", [], no_group, total_episodes=1)
    group = lambda file: (file["episode_0"].pop("actions"), file.create_group("episode_0/actions"))
    refused(tmp_path, "episode 0, actions: expected an array, got a group", one, group)
    unwritten = lambda file: (file["episode_0"].pop("rewards"), file.create_dataset("episode_0/rewards", (2,), "f8"))
    refused(tmp_path, "episode 0, rewards was never written", one, unwritten)


def test_parts_of_observations_are_those_of_the_space(tmp_path):
    space = stored.dicts(a=box(2), b=box(3))
    sound = {path: array for path, array in stored.episode(2).items() if path in OTHERS}
    parts = {"observations/a": np.zeros((3, 2)), "observations/b": np.ones((3, 3))}
    for wrong, says in (
        (parts | {"observations/c": np.ones((3, 1))}, "observations: expected a group of a, b, got ['a', 'b', 'c']"),
        ({"observations/b": parts["observations/b"]}, "observations: expected a group of a, b, got ['b']"),
        ({"observations": np.ones((3, 5))}, "observations: expected a group of a, b, got an array"),
        (parts | {"observations/b": np.ones((3, 2))}, "observations/b: expected shape (3, 3), got (3, 2)"),
        (parts | {"observations/b": np.full((3, 3), np.nan)}, "first at index [0, 0], observations/b: nan"),
    ):
        refused(tmp_path, says, [sound | wrong], observation_space=space)
    write(tmp_path, "test/x-v0", [sound | parts], observation_space=space)
    np.testing.assert_array_equal(load(tmp_path).batch.obs, 2 * [[0, 0, 1, 1, 1]])
    with pytest.raises(ValueError, match="expects an array"):
        load(tmp_path, observation="identity")


def test_metadata_that_state_nonsense_are_refused(tmp_path):
    discrete, deep = json.dumps({"type": "Discrete", "n": 3, "start": 0}), "[" * 100_000
    maze = lambda rows: stored.spec("AntMaze_UMaze-v4", kwargs={"maze_map": rows})
    for name, value, says in (
        ("action_space", discrete, "actions must be a Box"),
        ("observation_space", discrete, "observations must be a Box"),
        ("action_space", box(2, -np.inf, np.inf), "actions must have finite bounds"),
        ("action_space", box(2, -1e300, 1e300), "actions must have finite bounds"),
        *(("action_space", bad, "cannot be read") for bad in (box(2, 1.0, -1.0), "{}", 3, None, deep)),
        ("observation_space", box(1).replace("[1]", "[1000000000000000]"), "cannot be read"),
        *(("total_episodes", bad, f"total_episodes = {bad!r} must be a whole number") for bad in ("1", True, -1)),
        ("total_episodes", 10**30, "and the file holds 1"),
        ("data_format", "lance", "data_format = 'lance' must be 'hdf5', 'arrow' or 'parquet'"),
        ("env_spec", "{", "env_spec is not JSON"),
        ("env_spec", deep, "env_spec is not JSON"),
        ("env_spec", stored.spec("Hoper-v5"), "did you mean 'Hopper-v5'"),
        ("env_spec", stored.spec(["Hopper-v5"]), "cannot be built"),
        ("env_spec", stored.spec("Hopper-v5"), "differ in their observations, [11] and [4]"),
        *(("env_spec", maze(bad), "maze_map must be a list of equally") for bad in ("1", [], [[1], [1, 1]])),
        *(("env_spec", maze([[1, bad]]), "maze_map[0][1] must be 0, 1,") for bad in ("__import__", [0], 2, True)),
        ("env_spec", stored.spec("AntMaze_UMaze-v4"), "env_spec has no maze_map"),
        ("env_spec", maze([[1, 1], [1, "r"]]), "from 2 free cells"),
        ("env_spec", maze([[0] * 101]), "got 101 free ones of 1 by 101"),
    ):
        refused(tmp_path, says, [stored.episode(2)], **{name: value})
    (tmp_path / "test/x-v0/data/metadata.json").write_text('{"env_spec": "{}"}')
    refused(tmp_path, "must state observation_space and action_space")


def test_what_a_transform_makes_too_large_is_named(tmp_path):
    large, far = stored.episode(2), stored.episode(3)
    large["rewards"] = np.array([0.0, 3e38])
    write(tmp_path, "test/x-v0", [stored.episode(2), large])
    load(tmp_path)
    says = "episode 1, first at index [1], rewards as 'minus-half-times-four': inf"
    refused(tmp_path, says, options={"reward": "minus-half-times-four"})
    far["observations"][:, 2] = [3e38, 3e38, 3e38, -3e38]
    says = "episode 1, first at index [3, 2], observations as 'identity': -inf is not finite"
    refused(tmp_path, says, [stored.episode(2), far], options={"standardise": True})


@EVERY_CASE
@given(strategies.floats(0, 0.999), strategies.binary(min_size=0, max_size=2000))
def test_truncated_and_garbage_files_are_refused(tmp_path, share, garbage):
    for name in ("main_data.hdf5", "metadata.json"):
        file = write(tmp_path, "test/x-v0", [stored.episode(3), stored.episode(2)]) / name
        whole = file.read_bytes()
        for content in (whole[: int(share * len(whole))], garbage, garbage + whole[len(garbage) :]):
            file.write_bytes(content)
            if content != whole:
                assert re.search("delete it and load it again|mend the file|must state", refused(tmp_path, ""))


def test_minibatches_are_not_larger_than_what_was_loaded(tmp_path):
    write(tmp_path, "test/x-v0", [stored.episode(2), stored.episode(3)])
    with pytest.raises(ValueError, match="batch_size = 256 must be at most 5, the transitions of test/x-v0"):
        Training(Settings(), None, load(tmp_path), Terminal())
