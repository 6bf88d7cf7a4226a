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
_ACTUATOR_LEG = np.array([3, 0, 1, 2])
# Exact cosines and sines of 0, 90, 180 and 270 degrees.
_COS, _SIN = np.array([1.0, 0.0, -1.0, 0.0]), np.array([0.0, 1.0, 0.0, -1.0])
_STANDING_HEIGHT = 0.55  # m, the initial torso height
_STANDING_ANKLE = 0.87  # rad, the middle of the ankles' range
_FEATURE_LIMIT = 10.0


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
    height, orientation, angles, linear, angular, speeds = np.split(observation, [1, 5, 13, 16, 19], axis=1)
    w, x, y, z = orientation.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    body_to_world = np.moveaxis(np.array(rows), -1, 0)  # rotations [n, 3, 3]
    up = body_to_world[:, 2]
    nose = direction[:, :1] * body_to_world[:, 0] + direction[:, 1:] * body_to_world[:, 1]
    velocity = np.einsum("nij,ni->nj", body_to_world, linear)

    bearing = np.arctan2(nose[:, 1], nose[:, 0])
    k = (-np.round(bearing / (np.pi / 2))).astype(int) % 4
    # Few calls on larger arrays: on the few rows of a step most of the time goes into calling NumPy.
    spatial = np.stack([up, nose, velocity, angular], axis=1)  # [n, 4, 3]
    turned, cos, sin = spatial.copy(), _COS[k, None], _SIN[k, None]
    turned[..., 0] = cos * spatial[..., 0] - sin * spatial[..., 1]
    turned[..., 1] = sin * spatial[..., 0] + cos * spatial[..., 1]
    both = (angles, speeds)  # [n, 4] of the hips and [n, 4] of the ankles by turns
    per_leg = np.stack([x for each in both for x in (each[:, 0::2], each[:, 1::2] * _ANKLE_SIGN)], axis=2)
    relabelled = per_leg[np.arange(len(k))[:, None], (_LEGS - k[:, None]) % 4]  # k quarter turns: leg i to i + k
    blocks = [
        (height - _STANDING_HEIGHT) * 4,
        turned[:, 0],
        turned[:, 1],
        turned[:, 2] * 0.5,
        turned[:, 3] * 0.3,
        relabelled[..., 0] * 2,
        (relabelled[..., 1] - _STANDING_ANKLE) * 2,
        relabelled[..., 2] * 0.2,
        relabelled[..., 3] * 0.2,
    ]
    return np.clip(np.concatenate(blocks, axis=1), -_FEATURE_LIMIT, _FEATURE_LIMIT).astype(np.float32), k


def to_ctrl(canonical_action: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Takes an action from the canonical frame to the actuators of `ant.xml`: a permutation with signs.

    `canonical_action` [n, 8] holds torques of the canonical legs' four hips, then of their four ankles, `k` [n] the
    quarter turns of `features`; the result [n, 8] is hip_4, ankle_4, hip_1, ankle_1, hip_2, ankle_2, hip_3, ankle_3.
    """
    legs = (_ACTUATOR_LEG + k[:, None]) % 4
    rows = np.arange(len(legs))[:, None]
    hips, ankles = canonical_action[rows, legs], canonical_action[rows, legs + 4] * _ANKLE_SIGN[_ACTUATOR_LEG]
    return np.stack([hips, ankles], axis=2).reshape(len(legs), ACTION_DIM)


def walk(controller: Controller, observation: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """The deterministic action [n, 8], float32, in actuator order, inside [-1, 1].

    The arrays and errors are those of `features`. A row's action does not depend on the other rows, to the last bit.
    """
    feature, k = features(observation, direction)
    return to_ctrl(controller.action(feature), k).astype(np.float32)
