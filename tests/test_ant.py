"""The ant's controller: its symmetries, its weights, and the program that trains controllers."""

import importlib
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from gtp_jax.datasets.builtin import ant
from gtp_jax.datasets.builtin.controller import Controller

# Where the legs of the joints (hip_1, ankle_1, ..., hip_4, ankle_4) stand among the actuators of ant.xml.
JOINT_OF_ACTUATOR = [6, 7, 0, 1, 2, 3, 4, 5]
SIGN = np.array([1.0, -1.0, -1.0, 1.0])  # of the ankles


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def states(rng):
    """Observations [200, 27] of upright and fallen ants, and unit directions [200, 2]."""
    observation = rng.standard_normal((200, 27))
    observation[:, 1:5] /= np.linalg.norm(observation[:, 1:5], axis=1, keepdims=True)
    bearing = rng.uniform(-np.pi, np.pi, 200)
    return observation, np.stack([np.cos(bearing), np.sin(bearing)], axis=1)


def load(path):
    return Controller.load(path, ant.FEATURE_DIM, ant.ACTION_DIM)


@pytest.fixture(scope="module")
def controller():
    return load("ant.npz")


def test_features_and_controls_against_scipy_rotations(states, rng):
    """Written out from the body's view, so that a turned world changes nothing."""
    feature, k = ant.features(*states)
    action = rng.uniform(-1, 1, (200, 8))
    assert feature.dtype == np.float32 and feature.shape == (200, ant.FEATURE_DIM) and set(k) == {0, 1, 2, 3}
    rows = zip(*states, k, feature, action, ant.to_ctrl(action, k), strict=True)
    for o, direction, turns, found, torques, ctrl in rows:
        to_body = Rotation.from_quat(o[1:5], scalar_first=True).inv()
        to_canonical = Rotation.from_euler("z", 90 * turns, degrees=True)
        vectors = to_canonical.apply([*to_body.apply([[0, 0, 1], [*direction, 0], o[13:16]]), o[16:19]])
        assert vectors[1, 0] >= abs(vectors[1, 1]) - 1e-9, "the nose is within 45 degrees of the direction"
        legs = np.roll(np.arange(4), turns)
        (hips, ankles), (hip_speeds, ankle_speeds) = (o[part].reshape(4, 2).T for part in (slice(5, 13), slice(19, 27)))
        moved = [4 * (o[0] - 0.55), *(vectors * [[1], [1], [0.5], [0.3]]).ravel()]
        angles = [*(2 * hips[legs]), *(2 * ((SIGN * ankles)[legs] - 0.87))]
        speeds = [*(0.2 * hip_speeds[legs]), *(0.2 * (SIGN * ankle_speeds)[legs])]
        np.testing.assert_allclose(found, np.clip([*moved, *angles, *speeds], -10, 10), atol=1e-6)
        joints = np.empty(8)
        joints[2 * legs], joints[2 * legs + 1] = torques[:4], SIGN[legs] * torques[4:]
        np.testing.assert_array_equal(ctrl, joints[JOINT_OF_ACTUATOR])


def test_leg_and_actuator_order_are_those_of_the_model():
    model = mujoco.MjModel.from_xml_path(str(Path(gymnasium.__file__).parent / "envs/mujoco/assets/ant.xml"))
    actuated = [model.joint(model.actuator_trnid[a, 0]).name for a in range(model.nu)]
    joints = [model.joint(j).name for j in range(1, model.njnt)]
    assert [joints.index(name) for name in actuated] == JOINT_OF_ACTUATOR
    # Bending every canonical ankle alike must bend all four legs alike: the ankles' ranges agree once signed.
    ctrl = ant.to_ctrl(np.repeat([[0.0] * 4 + [1.0] * 4], 4, axis=0), np.arange(4))
    ranges = np.array([model.joint(name).range for name in actuated])[1::2]
    for row in ctrl:
        np.testing.assert_allclose(np.sort(row[1::2, None] * ranges, axis=1), np.deg2rad([[30, 70]] * 4))


def test_a_rows_controls_are_inside_the_bounds_and_do_not_depend_on_its_place_or_neighbours(states, controller, rng):
    observation, direction = 100 * states[0], states[1]
    ctrl = ant.walk(controller, observation, direction)
    assert ctrl.dtype == np.float32 and np.abs(ctrl).max() <= 1
    for size in (1, 2, 5, 7, 8, 50):
        rows = rng.permutation(200)[:size]
        np.testing.assert_array_equal(ant.walk(controller, observation[rows], direction[rows]), ctrl[rows])


def test_arrays_of_wrong_shapes_and_types_are_refused(tmp_path, controller):
    arrays, path = controller._asdict(), tmp_path / "bad.npz"
    for content, says in (
        (arrays | {"w1": controller.w1.astype(np.float64)}, "w1 is float64"),
        (arrays | {"w2": controller.w2[:, 1:]}, r"w2 is float32 \(128, 7\), expected finite float32 \(128, 8\)"),
        (arrays | {"b0": controller.b0 * np.nan}, "b0 is float32"),
        ({"w0": controller.w0}, "missing"),
    ):
        np.savez(path, **content)
        with pytest.raises(ValueError, match=f"bad.npz: .*{says}"):
            load(path)
    with pytest.raises(ValueError, match=r"\(1, 105\)"):
        ant.features(np.zeros((1, 105)), np.ones((1, 2)))
    with pytest.raises(ValueError, match=r"direction has shape \(2,\)"):
        ant.features(np.zeros((1, 27)), np.ones(2))


@pytest.fixture
def train(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "experiments")
    return importlib.import_module("train_controller")


SHRUNK = ["--steps=8", "--num-envs=2", "--warmup=6", "--updates=2", "--batch-size=4"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "sizes"), [("ant", (29, 8)), ("d4rl_ant", (29, 8)), ("ogbench_ant", (29, 8)), ("hopper", (11, 3))]
)
def test_equal_seeds_train_equal_controllers(train, tmp_path, capsys, body, sizes):
    if body == "ogbench_ant":
        pytest.importorskip("ogbench")
    for name, seed in zip("abc", (3, 3, 4), strict=True):
        train.main([body, f"--output={tmp_path / name}.npz", f"--seed={seed}", "--stages=6,8", *SHRUNK])
    found = {path.stem: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(found) == [name + stage for name in "abc" for stage in ("", "_6", "_8")]
    assert found["a"] == found["b"] == found["a_8"] != found["c"]
    assert found["a_6"] == found["b_6"] != found["a"]
    assert Controller.load(tmp_path / "a.npz", *sizes).b0.shape == (128,)
    assert " ended | tested " in capsys.readouterr().out


@pytest.mark.parametrize("argument", ["--stages=7", "--stages=x", "--steps=9", "--warmup=20", "--updates=0"])
def test_bad_arguments_stop_before_training(train, tmp_path, argument):
    with pytest.raises(ValueError, match=argument.split("=")[0]):
        train.main(["ant", f"--output={tmp_path / 'a.npz'}", *SHRUNK, argument])
    assert not list(tmp_path.iterdir())
