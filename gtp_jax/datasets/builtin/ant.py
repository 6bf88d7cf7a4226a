"""The controller that walks gymnasium's ant in a commanded direction while AntMaze data are collected.

The ant looks the same after a turn by 90 degrees and a re-labelling of its legs. The controller sees the world in the
one of the four body frames whose nose lies within 45 degrees of the commanded direction (the canonical frame, reached
by `k` quarter turns), so it only learns to walk forwards. Legs are counted counter-clockwise from the front left one,
as the joints of `ant.xml` are; its actuators are not.
"""

import numpy as np

from gtp_jax.datasets.builtin.controller import Controller

OBSERVATION_DIM = 27
FEATURE_DIM = 29
ACTION_DIM = 8

_LEGS = np.arange(4)
# Legs 2 and 3 have their ankle axis mirrored: with these signs a positive ankle angle bends every leg alike.
_ANKLE_SIGN = np.array([1.0, -1.0, -1.0, 1.0])
# Actuators come in pairs (hip, ankle) for the legs 4, 1, 2, 3.
_ACTUATOR_LEG = np.repeat([3, 0, 1, 2], 2)
_TORQUES = (_ACTUATOR_LEG + np.arange(4)[:, None]) % 4 + [0, 4] * 4  # after k quarter turns, of a canonical action
_TORQUE_SIGNS = np.where(np.arange(8) % 2, _ANKLE_SIGN[_ACTUATOR_LEG], 1.0)
# Of k quarter turns, which take leg i to i + k: where the hips' and ankles' angles and speeds stand, and their signs.
_TURNED = (_LEGS - np.arange(4)[:, None]) % 4
_JOINTS = np.concatenate([first + 2 * _TURNED for first in (5, 6, 19, 20)], axis=1)
_JOINT_SIGNS = np.concatenate([np.ones((4, 4)), _ANKLE_SIGN[_TURNED]] * 2, axis=1)
# The rotation of a quaternion, row by row: 1 - 2 (yy + zz), 2 (xy - wz), 2 (xz + wy); 2 (xy + wz), ...
_ADDED = np.array([[10, 6, 7, 6, 5, 11, 7, 11, 5], [15, 3, 2, 3, 15, 1, 2, 1, 10]])
_SIGNS = np.array([1, -1, 1, 1, 1, -1, -1, 1, 1])[:, None]
# Exact cosines and sines of 0, 90, 180 and 270 degrees.
_COS, _SIN = np.array([1.0, 0.0, -1.0, 0.0]), np.array([0.0, 1.0, 0.0, -1.0])
_STANDING_HEIGHT = 0.55  # m, the initial torso height
_STANDING_ANKLE = 0.87  # rad, the middle of the ankles' range
_FEATURE_LIMIT = 10.0
_OFFSETS = np.repeat([_STANDING_HEIGHT, 0.0, _STANDING_ANKLE, 0.0], [1, 16, 4, 8])
_SCALES = np.repeat([4, 1, 0.5, 0.3, 2, 0.2], [1, 6, 3, 3, 8, 8])


def features(observation: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The controller's view of the ant: canonical frame, fixed scales, clipped to +-10.

    Args:
      observation: [n, 27] AntMaze's `observation` without contact forces, MuJoCo's qpos[2:] and qvel: torso height,
        orientation quaternion (w, x, y, z), the joint angles hip_1, ankle_1, ... hip_4, ankle_4, the torso's linear
        velocity in the world frame and angular velocity in its own, the joint velocities; metres, radians, seconds.
      direction: [n, 2] unit vector in the world's xy plane to walk along.

    Returns:
      The features [n, 29], float32, and k [n], int, the quarter turns to the canonical frame. Features: torso height
      (1); in the canonical frame the world's up (3), `direction` (3), linear and angular velocity (3 + 3); of the
      canonical legs hip angles (4), ankle angles (4), hip velocities (4), ankle velocities (4).

    Raises ValueError for other shapes.
    """
    observation, direction = np.asarray(observation), np.asarray(direction)
    if observation.ndim != 2 or observation.shape[1] != OBSERVATION_DIM:
        cure = f"pass [:, :{OBSERVATION_DIM}] of a longer one, and give a single one a leading axis"
        raise ValueError(f"observation has shape {observation.shape}, expected [n, {OBSERVATION_DIM}]; {cure}")
    if direction.shape != (len(observation), 2):
        raise ValueError(f"direction has shape {direction.shape}, expected ({len(observation)}, 2): a unit vector each")
    # Few calls on larger arrays: on the few rows of a step most of the time goes into calling NumPy.
    quaternion = observation[:, 1:5].T
    products = (quaternion[:, None] * quaternion).reshape(16, -1)  # ww, wx, wy, wz, xw, ...
    rows = 2 * (products[_ADDED[0]] + _SIGNS * products[_ADDED[1]])
    rows[::4] = 1 - rows[::4]
    body_to_world = rows.T.reshape(-1, 3, 3)  # rotations
    nose = direction[:, :1] * body_to_world[:, 0] + direction[:, 1:] * body_to_world[:, 1]
    k = (-np.round(np.arctan2(nose[:, 1], nose[:, 0]) / (np.pi / 2))).astype(int) % 4

    spatial = np.empty((len(k), 4, 3))  # up, direction, linear and angular velocity
    spatial[:, 0], spatial[:, 1], spatial[:, 3] = body_to_world[:, 2], nose, observation[:, 16:19]
    np.einsum("nij,ni->nj", body_to_world, observation[:, 13:16], out=spatial[:, 2])
    found = np.empty((len(k), FEATURE_DIM))
    found[:, 0], found[:, 3:13:3] = observation[:, 0], spatial[..., 2]
    x, y, cos, sin = spatial[..., 0], spatial[..., 1], _COS[k, None], _SIN[k, None]
    found[:, 1:13:3], found[:, 2:13:3] = cos * x - sin * y, sin * x + cos * y
    found[:, 13:] = observation[np.arange(len(k))[:, None], _JOINTS[k]] * _JOINT_SIGNS[k]
    scaled = (found - _OFFSETS) * _SCALES
    return np.minimum(np.maximum(scaled, -_FEATURE_LIMIT), _FEATURE_LIMIT).astype(np.float32), k


def to_ctrl(canonical_action: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Takes an action from the canonical frame to the actuators of `ant.xml`: a permutation with signs.

    `canonical_action` [n, 8] holds torques of the canonical legs' four hips, then of their four ankles, `k` [n] the
    quarter turns of `features`; the result [n, 8] is hip_4, ankle_4, hip_1, ankle_1, hip_2, ankle_2, hip_3, ankle_3.
    """
    return canonical_action[np.arange(len(k))[:, None], _TORQUES[k]] * _TORQUE_SIGNS


def walk(controller: Controller, observation: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """The deterministic action [n, 8], float32, in actuator order, inside [-1, 1].

    The arrays and errors are those of `features`. A row's action does not depend on the other rows, to the last bit.
    """
    feature, k = features(observation, direction)
    return to_ctrl(controller.action(feature), k).astype(np.float32)
