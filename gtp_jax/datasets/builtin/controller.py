"""A controller's network: NumPy alone, so that data can be collected in many processes without JAX.

The shipped weights, `controllers/BODY.npz` and, of earlier stages, `controllers/BODY_STEPS.npz`, were trained from
scratch by `experiments/train_controller.py`.
"""

from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

CONTROLLERS = Path(__file__).with_name("controllers")


class Controller(NamedTuple):
    """A network with two hidden layers, ReLU inside and tanh outside: a deterministic policy."""

    w0: np.ndarray  # [F, H]
    b0: np.ndarray  # [H]
    w1: np.ndarray  # [H, H]
    b1: np.ndarray  # [H]
    w2: np.ndarray  # [H, A]
    b2: np.ndarray  # [A]

    @classmethod
    def load(cls, path: str | Path, feature_dim: int, action_dim: int) -> Self:
        """Reads the weights from an npz file of float32 arrays named as the fields.

        Args:
          path: of the file, or the name of one in `CONTROLLERS`.
          feature_dim: F that it must have.
          action_dim: A likewise.

        Raises:
          FileNotFoundError: there is no such file.
          ValueError: the file lacks an array, or an array has the wrong shape or type, or is not finite.
        """
        path, cure = CONTROLLERS / path, "make it with train_controller.py."
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                missing = sorted(set(cls._fields) - set(file.files))
                arrays = {name: file[name] for name in cls._fields} if not missing else {}
        except FileNotFoundError:
            raise
        except Exception as error:  # a damaged file raises every kind, and so do pickled objects, which are not loaded
            raise ValueError(f"{path}: not an npz file of plain arrays ({error}); {cure}") from error
        if missing:
            raise ValueError(f"{path}: arrays {missing} are missing; {cure}")
        controller = cls(**arrays)
        hidden = controller.b0.shape[-1] if controller.b0.ndim else 0
        shapes = ((feature_dim, hidden), (hidden,), (hidden, hidden), (hidden,), (hidden, action_dim), (action_dim,))
        for name, array, shape in zip(cls._fields, controller, shapes, strict=True):
            if array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
                raise ValueError(
                    f"{path}: {name} is {array.dtype} {array.shape}, expected finite float32 {shape}; {cure}"
                )
        return controller

    def action(self, features: np.ndarray) -> np.ndarray:
        """The action [n, A], inside [-1, 1], of features [n, F].

        A row's action does not depend on the other rows, to the last bit.
        """
        # One product per row: a product of the whole batch rounds a row differently in another place or batch size.
        hidden = np.maximum(features[:, None] @ self.w0 + self.b0, 0)
        hidden = np.maximum(hidden @ self.w1 + self.b1, 0)
        return np.tanh(hidden @ self.w2 + self.b2)[:, 0]
