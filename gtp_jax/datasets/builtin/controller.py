"""A controller's network: NumPy alone, so that data can be collected in many processes without JAX.

The shipped weights, `controllers/BODY.npz` and, of earlier stages, `controllers/BODY_STEPS.npz`, were trained from
scratch by `experiments/train_controller.py`.
"""

from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

CONTROLLERS = Path(__file__).with_name("controllers")


class Controller(NamedTuple):
    """A deterministic policy: two hidden layers with ReLU, and tanh outside."""

    w0: np.ndarray  # [F, H]
    b0: np.ndarray  # [H]
    w1: np.ndarray  # [H, H]
    b1: np.ndarray  # [H]
    w2: np.ndarray  # [H, A]
    b2: np.ndarray  # [A]

    @classmethod
    def load(cls, path: str | Path, feature_dim: int, action_dim: int) -> Self:
        """Reads an npz file of float32 arrays named as the fields; a relative path is one in `CONTROLLERS`.

        Raises FileNotFoundError where there is no such file, and ValueError where an array is missing, not finite, or
        of the wrong shape or type.
        """
        path, cure = CONTROLLERS / path, "make it with train_controller.py."
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                arrays = {name: file[name] for name in cls._fields if name in file.files}
        except FileNotFoundError:
            raise
        except Exception as error:  # a damaged file raises every kind, and so do pickled objects, which are not loaded
            raise ValueError(f"{path}: not an npz file of plain arrays ({error}); {cure}") from error
        if missing := sorted(set(cls._fields) - set(arrays)):
            raise ValueError(f"{path}: arrays {missing} are missing; {cure}")
        hidden = arrays["b0"].size
        shapes = ((feature_dim, hidden), (hidden,), (hidden, hidden), (hidden,), (hidden, action_dim), (action_dim,))
        for (name, array), shape in zip(arrays.items(), shapes, strict=True):
            if array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
                wanted = f"expected finite float32 {shape}"
                raise ValueError(f"{path}: {name} is {array.dtype} {array.shape}, {wanted}; {cure}")
        return cls(**arrays)

    def action(self, features: np.ndarray) -> np.ndarray:
        """The action [n, A], inside [-1, 1], of features [n, F]; to the last bit, other rows do not change a row."""
        # One product per row: a product of the whole batch rounds a row differently at another index or batch size.
        hidden = np.maximum(features[:, None] @ self.w0 + self.b0, 0)
        hidden = np.maximum(hidden @ self.w1 + self.b1, 0)
        return np.tanh(hidden @ self.w2 + self.b2)[:, 0]
