import importlib
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from gtp_jax.datasets.builtin import ant
from gtp_jax.datasets.builtin.controller import Controller

# Where the legs of the joints (hip_1, ankle_1, ..., hip_4, ankle_4) stand among the actuators of ant.xml.
JOINT_OF_ACTUATOR = [6, 7, 0, 1, 2, 3, 4, 5]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def random_states(rng, n=200):
    """Observations [n, 27] of upright and fallen ants, and unit directions [n, 2]."""
    observation = rng.standard_normal((n, 27))
    observation[:, 1:5] /= np.linalg.norm(observation[:, 1:5], axis=1, keepdims=True)
    bearing = rng.uniform(-np.pi, np.pi, n)
    return observation, np.stack([np.cos(bearing), np.sin(bearing)], axis=1)


def quarter_turn_of_body(observation):
    """The same physical ants, each described by a body frame turned by 90 degrees: what was leg 2 is now leg 1."""
    turned = observation.copy()
    attitude = Rotation.from_quat(observation[:, 1:5], scalar_first=True)
    turned[:, 1:5] = (attitude * Rotation.from_euler("z", 90, degrees=True)).as_quat(scalar_first=True)
    sign = np.array([1.0, -1.0, -1.0, 1.0])
    for first in (5, 19):
        hips, ankles = observation[:, first : first + 8 : 2], observation[:, first + 1 : first + 9 : 2]
        turned[:, first : first + 8 : 2] = np.roll(hips, -1, axis=1)
        turned[:, first + 1 : first + 9 : 2] = np.roll(ankles * sign, -1, axis=1) * sign
    turned[:, 16:19] = np.stack([observation[:, 17], -observation[:, 16], observation[:, 18]], axis=1)
    return turned


def quarter_turn_of_ctrl(ctrl):
    """The controls of `quarter_turn_of_body`'s ants that torque the same physical legs."""
    joints, turned = np.empty_like(ctrl), np.empty_like(ctrl)
    joints[:, JOINT_OF_ACTUATOR] = ctrl
    sign = np.array([1.0, -1.0, -1.0, 1.0])
    turned[:, 0::2] = np.roll(joints[:, 0::2], -1, axis=1)
    turned[:, 1::2] = np.roll(joints[:, 1::2] * sign, -1, axis=1) * sign
    return turned[:, JOINT_OF_ACTUATOR]


def test_relabelled_legs_give_the_same_features_and_relabelled_controls(rng):
    observation, direction = random_states(rng)
    controller = ant.AntController.load()
    feature, k = ant.features(observation, direction)
    ctrl = controller(observation, direction)
    assert set(k) == {0, 1, 2, 3}
    for _ in range(3):
        observation, ctrl = quarter_turn_of_body(observation), quarter_turn_of_ctrl(ctrl)
        turned_feature, turned_k = ant.features(observation, direction)
        k = (k + 1) % 4
        np.testing.assert_array_equal(turned_k, k)
        np.testing.assert_allclose(turned_feature, feature, atol=1e-6)
        np.testing.assert_allclose(controller(observation, direction), ctrl, atol=1e-5)


def test_a_turned_world_gives_the_same_features_and_controls(rng):
    observation, direction = random_states(rng)
    for degrees in (37, 90, 180):
        turn = Rotation.from_euler("z", degrees, degrees=True)
        turned = observation.copy()
        attitude = Rotation.from_quat(observation[:, 1:5], scalar_first=True)
        turned[:, 1:5] = (turn * attitude).as_quat(scalar_first=True)
        turned[:, 13:16] = turn.apply(observation[:, 13:16])
        turned_direction = turn.apply(np.pad(direction, ((0, 0), (0, 1))))[:, :2]
        feature, k = ant.features(observation, direction)
        turned_feature, turned_k = ant.features(turned, turned_direction)
        np.testing.assert_array_equal(turned_k, k)
        np.testing.assert_allclose(turned_feature, feature, atol=1e-6)


def test_features_against_scipy_rotations(rng):
    observation, direction = random_states(rng)
    feature, k = ant.features(observation, direction)
    for i in range(len(observation)):
        o = observation[i]
        to_body = Rotation.from_quat(o[1:5], scalar_first=True).inv()
        to_canonical = Rotation.from_euler("z", 90 * k[i], degrees=True)
        vectors = to_canonical.apply([*to_body.apply([[0, 0, 1], [*direction[i], 0], o[13:16]]), o[16:19]])
        assert vectors[1, 0] >= abs(vectors[1, 1]) - 1e-9, "the nose is within 45 degrees of the direction"
        legs = np.roll(np.arange(4), k[i])
        sign = np.array([1.0, -1.0, -1.0, 1.0])
        angles, speeds = o[5:13].reshape(4, 2), o[19:27].reshape(4, 2)
        expected = np.concatenate(
            [
                [4 * (o[0] - 0.55)],
                (vectors * [[1], [1], [0.5], [0.3]]).ravel(),
                2 * angles[legs, 0],
                2 * ((sign * angles[:, 1])[legs] - 0.87),
                0.2 * speeds[legs, 0],
                0.2 * (sign * speeds[:, 1])[legs],
            ]
        )
        np.testing.assert_allclose(feature[i], np.clip(expected, -10, 10), atol=1e-6)
    assert feature.dtype == np.float32 and feature.shape == (len(observation), ant.FEATURE_DIM)


def test_leg_and_actuator_order_are_those_of_the_model():
    mujoco = pytest.importorskip("mujoco")
    gymnasium = pytest.importorskip("gymnasium")
    model = mujoco.MjModel.from_xml_path(str(Path(gymnasium.__file__).parent / "envs/mujoco/assets/ant.xml"))
    actuated = [model.joint(model.actuator_trnid[a, 0]).name for a in range(model.nu)]
    joints = [model.joint(j).name for j in range(1, model.njnt)]
    assert [joints.index(name) for name in actuated] == JOINT_OF_ACTUATOR
    # Bending every canonical ankle alike must bend all four legs alike: the ankles' ranges agree once signed.
    ctrl = ant.to_ctrl(np.repeat([[0.0] * 4 + [1.0] * 4], 4, axis=0), np.arange(4))
    ranges = np.array([model.joint(name).range for name in actuated])[1::2]
    for row in ctrl:
        np.testing.assert_allclose(np.sort(row[1::2, None] * ranges, axis=1), np.deg2rad([[30, 70]] * 4))


@pytest.mark.parametrize("k", range(4))
def test_to_ctrl_is_a_permutation_with_signs(k):
    matrix = ant.to_ctrl(np.eye(8), np.full(8, k))
    np.testing.assert_array_equal(matrix @ matrix.T, np.eye(8))
    np.testing.assert_array_equal(np.sort(np.abs(matrix), axis=1)[:, -2:], np.tile([0.0, 1.0], (8, 1)))


def test_controls_stay_inside_the_bounds(rng):
    observation, direction = random_states(rng)
    ctrl = ant.AntController.load()(100 * observation, direction)
    assert ctrl.dtype == np.float32 and np.abs(ctrl).max() <= 1


def test_a_row_does_not_depend_on_its_place_or_neighbours(rng):
    observation, direction = random_states(rng)
    controller = ant.AntController.load()
    ctrl = controller(observation, direction)
    for size in (1, 2, 5, 7, 8, 50):
        rows = rng.permutation(len(observation))[:size]
        np.testing.assert_array_equal(controller(observation[rows], direction[rows]), ctrl[rows])


def test_shipped_weights_are_plain_float32_arrays(tmp_path):
    controller = ant.AntController.load()
    assert all(array.dtype == np.float32 for array in controller)
    np.savez(tmp_path / "bad.npz", **(controller._asdict() | {"w1": controller.w1.astype(np.float64)}))
    with pytest.raises(ValueError, match="w1 is float64"):
        ant.AntController.load(tmp_path / "bad.npz")
    np.savez(tmp_path / "short.npz", w0=controller.w0)
    with pytest.raises(ValueError, match="missing"):
        ant.AntController.load(tmp_path / "short.npz")
    np.savez(tmp_path / "pickled.npz", **(controller._asdict() | {"b2": np.array([object()] * 8)}))
    with pytest.raises(ValueError, match="allow_pickle"):
        ant.AntController.load(tmp_path / "pickled.npz")


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 105\)"):
        ant.features(np.zeros((1, 105)), np.ones((1, 2)))
    with pytest.raises(ValueError, match=r"direction has shape \(2,\)"):
        ant.features(np.zeros((1, 27)), np.ones(2))


@pytest.fixture
def train(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "experiments")
    return importlib.import_module("train_controller")


SHRUNK = ["--steps=8", "--num-envs=2", "--warmup=6", "--updates=2", "--batch-size=4"]
SIZES = {"ant": (29, 8), "hopper": (11, 3)}


@pytest.mark.parametrize("body", SIZES)
def test_equal_seeds_train_equal_controllers(train, tmp_path, capsys, body):
    outputs = [tmp_path / f"{name}.npz" for name in "abc"]
    for output, seed in zip(outputs, (3, 3, 4), strict=True):
        train.main([body, f"--output={output}", f"--seed={seed}", "--stages=6,8", *SHRUNK])
    first, again, other = (output.read_bytes() for output in outputs)
    assert first == again
    assert first != other
    assert (tmp_path / "a_8.npz").read_bytes() == first
    assert (tmp_path / "a_6.npz").read_bytes() == (tmp_path / "b_6.npz").read_bytes() != first
    assert sorted(path.name for path in tmp_path.glob("a*")) == ["a.npz", "a_6.npz", "a_8.npz"]
    assert Controller.load(outputs[0], *SIZES[body]).b0.shape == (128,)
    assert " ended | tested " in capsys.readouterr().out


@pytest.mark.parametrize("argument", ["--stages=7", "--stages=x", "--steps=9", "--warmup=20", "--updates=0"])
def test_bad_arguments_stop_before_training(train, tmp_path, argument):
    with pytest.raises(ValueError, match=argument.split("=")[0]):
        train.main(["ant", f"--output={tmp_path / 'a.npz'}", *SHRUNK, argument])
    assert not list(tmp_path.iterdir())
