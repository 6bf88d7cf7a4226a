"""Transforms of rewards and observations, and the observer."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from gtp_jax.datasets.transforms import Observer, transform_observation, transform_reward
from gtp_jax.names import by_path

LAYOUT = Observer("maze-egocentric", np.zeros(62), np.ones(62)).layout
HEADING = LAYOUT.heading


def raw(*batch):
    rng = np.random.default_rng(0)
    sizes = {"achieved_goal": 2, "observation": 27, "desired_goal": 2}
    return {key: rng.normal(size=(*batch, size)) * 5 for key, size in sizes.items()}


def test_parts_of_dicts_stand_in_the_order_of_their_names():
    nested = {"b": 1, "a": {"d": 2, "c": 3}}
    assert list(by_path(nested).items()) == [("a/c", 3), ("a/d", 2), ("b", 1)]
    assert by_path(5) == {"": 5} and list(by_path({"x": 1}, "observations")) == ["observations/x"]


def test_rewards_by_name():
    reward, episode = np.array([0.0, 1.0, 3.0, -1.0]), np.array([0, 0, 1, 1])
    for name, values in {
        "none": [0, 1, 3, -1],
        "minus-one": [-1, 0, 2, -2],
        "minus-half-times-four": [-2, 2, 10, -6],
        "return-range": [0, 1000, 3000, -1000],  # returns 1 and 2
    }.items():
        result = transform_reward(name, reward, episode)
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, np.array(values, np.float32))
    standardised = transform_reward("standardise", np.array([1.0, 3.0, 5.0, 3.0]), episode)
    np.testing.assert_allclose(standardised, np.array([-1, 0, 1, 0]) * np.sqrt(2), rtol=1e-6)
    with pytest.raises(ValueError, match="'minus-on'.*'minus-one'"):
        transform_reward("minus-on", reward, episode)
    for name, says in (("return-range", "all 2 of them are 2"), ("standardise", "all 4 of them are 1")):
        with pytest.raises(ValueError, match=f'reward="{name}" divides by .* but {says}'):
            transform_reward(name, np.ones(4), episode)


@pytest.mark.parametrize("name", ["goal-scales", "maze-egocentric", "observation", "flatten", "identity"])
def test_an_observer_is_the_same_from_its_spec_and_written_for_a_compiler(name):
    parts = raw(50) if name != "identity" else raw(50)["observation"]
    observe = Observer.fit(name, transform_observation(name, parts), raw=parts)
    seen = observe(parts)
    np.testing.assert_array_equal(Observer.from_spec(json.loads(json.dumps(observe.spec())))(parts), seen)
    traced = jax.jit(lambda parts: observe(parts, jnp))(parts)
    np.testing.assert_allclose(traced, seen, rtol=1e-5, atol=1e-5)
    sizes = {"observation": {"observation": 27}, "identity": 27}
    assert observe.sizes() == sizes.get(name, {"achieved_goal": 2, "observation": 27, "desired_goal": 2})


def test_dicts_are_flattened_in_the_order_of_their_paths_and_keep_their_sizes():
    """However deep, as the environment gives them, or by path, as a file does."""
    nested = {"b": np.ones((2, 1)), "a": {"d": np.full((2, 2), 3), "c": np.full((2, 3), 2.0)}}
    stored = {"a/d": nested["a"]["d"], "b": nested["b"], "a/c": nested["a"]["c"]}
    flat = np.repeat(np.float32([[2, 2, 2, 3, 3, 1]]), 2, axis=0)
    for each in (nested, stored):
        got = transform_observation("flatten", each)
        np.testing.assert_array_equal(got, flat)
        assert got.dtype == np.float32
    observe = Observer.fit("flatten", flat, False, stored)
    assert observe.sizes() == {"a": {"c": 3, "d": 2}, "b": 1}
    np.testing.assert_array_equal(
        observe({**nested, "a": {"c": np.zeros((2, 3)), "d": np.ones((2, 2))}})[0, :5], [0, 0, 0, 1, 1]
    )
    ragged = {**stored, "b": (nested["b"], {})}
    for wrong in (flat, {"b": nested["b"]}, {**stored, "a/d": np.ones((2, 3)), "a/c": np.ones((2, 2))}, {}, ragged):
        with pytest.raises(ValueError, match='"flatten" expects a dict of arrays'):
            observe(wrong)
    for parts in (None, {}, {"a": 5}, {"a": "6"}, {"a": True, "b": 5}, [6]):
        with pytest.raises(ValueError, match="parts must be sizes with the sum 6"):
            Observer.from_spec({**observe.spec(), "parts": parts})


def test_specs_that_cannot_be_are_refused():
    spec = Observer("goal-scales", np.zeros(36, np.float32), np.ones(36, np.float32)).spec()
    for change in ({"transform": "goal"}, {"mean": [0.0]}, {"std": [0.0] * 36}, {"mean": [float("nan")] * 36}):
        with pytest.raises(ValueError, match="observ"):
            Observer.from_spec(spec | change)
    with pytest.raises(ValueError, match="keys transform, mean and std"):
        Observer.from_spec({"transform": "goal-scales"})


@pytest.mark.parametrize("name", ["goal-scales", "maze-scales", "maze-egocentric"])
def test_a_layout_finds_the_parts_of_an_observation(name):
    """In "maze-egocentric" the body is turned, in the others it is as it was; a heading stands at the end."""
    parts = raw(6)
    flat, offset = transform_observation(name, parts), parts["desired_goal"] - parts["achieved_goal"]
    layout = Observer.fit(name, flat).layout
    np.testing.assert_array_equal(flat[:, layout.position], np.float32(parts["achieved_goal"]))
    np.testing.assert_allclose(flat[:, layout.goal_offset], offset, rtol=1e-5)
    body = flat[:, layout.body]
    assert body.shape == (6, 27) and (body == np.float32(parts["observation"])).all() == (name != "maze-egocentric")
    assert (layout.heading is None) == (name != "maze-egocentric")
    # Whatever tells where agent and goal are changes with a move of both, or of the goal.
    moved = parts | {"desired_goal": parts["desired_goal"] + 1, "achieved_goal": parts["achieved_goal"] - 1}
    changed = np.flatnonzero((transform_observation(name, moved) != flat).any(0))
    assert set(layout.location) <= set(changed) and not set(changed) & set(range(60)[layout.body])
    assert Observer.fit("identity", flat).layout is None


def test_goal_scales_and_fourier_features_in_order():
    parts = raw()
    parts["achieved_goal"], parts["desired_goal"] = np.array([1.0, 2.0]), np.array([4.0, -2.0])  # d = (3, -4), |d| = 5
    flat = transform_observation("maze-scales", parts)
    assert flat.shape == (60,) and flat.dtype == np.float32
    np.testing.assert_array_equal(flat[:29], [1, 2, *parts["observation"].astype(np.float32)])
    np.testing.assert_allclose(flat[29:36], [3, -4, 0.6, -0.8, np.exp(-5), 1.5, -1.5], rtol=1e-6)
    degrees = np.array([45, 90, 22.5, 45, 11.25, 22.5, 180, -90, 90, -45, 45, -22.5])  # 1, 2, 4, -2 m of 8, 16, 32 m
    waves = [*np.sin(np.radians(degrees)), *np.cos(np.radians(degrees))]
    np.testing.assert_allclose(flat[36:], waves, atol=1e-6)
    np.testing.assert_array_equal(transform_observation("goal-scales", parts), flat[:36])
    parts["desired_goal"] = parts["achieved_goal"]
    np.testing.assert_array_equal(transform_observation("goal-scales", parts)[29:], [0, 0, 0, 0, 1, 0, 0])


def turned(parts, angle):
    """The same ant in a world turned by an angle about the vertical: SciPy's rotations, positions left alone."""
    turn, body = Rotation.from_euler("z", angle), parts["observation"].copy()
    orientation = turn * Rotation.from_quat(np.roll(body[..., 1:5], -1, axis=-1))
    body[..., 1:5] = np.roll(orientation.as_quat(), 1, axis=-1)
    body[..., 13:16] = turn.apply(body[..., 13:16])
    return {**parts, "observation": body}


def test_an_egocentric_body_is_the_same_wherever_it_heads():
    """And all there is of it, for with its heading it can be turned again."""
    parts = raw(500)
    parts["observation"][:, 1:5] /= np.linalg.norm(parts["observation"][:, 1:5], axis=-1, keepdims=True)
    seen = transform_observation("maze-egocentric", parts)
    assert seen.shape == (500, 62) and seen.dtype == np.float32
    heading = np.arctan2(seen[:, HEADING.stop - 1], seen[:, HEADING.start])
    for angle in (0.5, 2.0, -3.0):
        again = transform_observation("maze-egocentric", turned(parts, angle))
        np.testing.assert_allclose(again[:, :60], seen[:, :60], atol=1e-4)
        difference = np.arctan2(again[:, 61], again[:, 60]) - heading - angle
        np.testing.assert_allclose(np.abs(np.exp(1j * difference) - 1), 0, atol=1e-4)

    back = turned({"observation": seen[:, LAYOUT.body].astype(np.float64)}, heading[:, None])["observation"]
    both = (back, parts["observation"])  # the same rotation, and the same of everything else
    np.testing.assert_allclose(*(body[:, 1:5, None] * body[:, None, 1:5] for body in both), atol=1e-5)
    np.testing.assert_allclose(*(np.delete(body, range(1, 5), axis=1) for body in both), atol=1e-4)


@pytest.mark.parametrize("orientation", [(0.3, 0.1, 0.5, 0), (0.5, 0.2, 0.2, 0), (0, 0.6, 0.8, 0)])
def test_an_ant_that_heads_along_x_is_seen_as_in_the_world(orientation):
    """Which is "maze-scales", with a heading of 0 behind; and so is an ant on its back, which heads nowhere."""
    parts = raw(100)
    parts["observation"][:, 1:5] = orientation
    seen = transform_observation("maze-egocentric", parts)
    np.testing.assert_allclose(seen[:, :60], transform_observation("maze-scales", parts), atol=1e-5)
    np.testing.assert_allclose(seen[:, HEADING], np.tile([1, 0], (100, 1)), atol=1e-6)


def test_leading_axes_contact_forces_and_float64_change_nothing():
    """The data are float32: an observation reads the same from the file and the environment."""
    parts, observe = raw(4, 3), Observer("goal-scales", np.full(36, 2, np.float32), np.full(36, 3, np.float32))
    seen = observe(parts)
    assert seen.shape == (4, 3, 36)
    np.testing.assert_array_equal(seen[2, 1], observe({key: value[2, 1] for key, value in parts.items()}))
    np.testing.assert_array_equal(seen, observe({key: value.astype(np.float32) for key, value in parts.items()}))
    with_forces = np.concatenate([parts["observation"], np.ones((4, 3, 78))], -1)
    np.testing.assert_array_equal(seen, observe({**parts, "observation": with_forces}))


def test_standardisation_leaves_a_heading_as_it_is():
    """By it a hierarchical policy turns its subgoals."""
    flat = transform_observation("maze-egocentric", raw(2000))
    flat[:, 6] = 7.0  # constant: the floor of the deviation keeps it finite, and 0
    seen = Observer.fit("maze-egocentric", flat).scale(flat)
    np.testing.assert_allclose(seen[:, :60].mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(np.delete(seen[:, :60].std(0), 6), 1, atol=1e-4)
    np.testing.assert_array_equal(seen[:, 6], 0)
    np.testing.assert_array_equal(seen[:, HEADING], flat[:, HEADING])
    np.testing.assert_array_equal(Observer.fit("maze-egocentric", flat, standardise=False).scale(flat), flat)


def test_wrong_shapes_and_keys_are_named():
    observe = Observer.fit("goal-scales", transform_observation("goal-scales", raw(5)))
    box = Observer.fit("identity", np.zeros((4, 11), np.float32))
    part = Observer("observation", np.zeros(27), np.ones(27))
    for observer, wrong, says in (
        (observe, np.zeros(27), "expects a dict with keys.*got ndarray"),
        (observe, {"observation": np.zeros(27)}, r"got \['observation'\]"),
        (observe, {**raw(), "observation": np.zeros(29)}, r"\[\*B, 27\].*'observation': \(29,\)"),
        (observe, {**raw(), "desired_goal": np.zeros((3, 2))}, r"\(3, 2\)"),
        (observe, {**raw(), "desired_goal": np.float32(1)}, r"'desired_goal': \(\)"),
        (box, np.zeros(17), r"\[\*B, 11\], got shape \(17,\)"),
        (box, raw(), "expects an array"),
        (part, np.zeros(27), '"observation" expects a dict with the key "observation", got ndarray'),
        (part, {"achieved_goal": 1}, r"key \"observation\", got \['achieved_goal'\]"),
    ):
        with pytest.raises(ValueError, match=says):
            observer(wrong)
    with pytest.raises(ValueError, match="no observation transform 'goal'"):
        transform_observation("goal", raw())
