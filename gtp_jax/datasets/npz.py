"""Reading NumPy's archives: plain arrays of numbers, checksums compared, and nothing that is pickled."""

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from gtp_jax.datasets.hdf5 import KINDS, BadDataset
from gtp_jax.files import check_file


def read(path: Path, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """Reads the arrays of the given names, in that order; None: all of them.

    Raises BadDataset for a file that is unreadable or damaged, or lacks one of the arrays, and for one that holds other
    things than numbers of at most 8 bytes or bytes beyond its array.
    """
    arrays, name = {}, ""
    try:
        check_file(path, path.parent)
        with zipfile.ZipFile(path) as archive:
            there = [each.removesuffix(".npy") for each in archive.namelist()]
            for name in there if names is None else names:
                if name not in there:
                    raise BadDataset(f"{path}, {name}: there is no such array; there are {', '.join(there)[:300]}")
                stream = io.BytesIO(archive.read(f"{name}.npy"))  # whole, which compares the checksum
                arrays[name] = array = np.lib.format.read_array(stream, allow_pickle=False)
                if array.dtype.kind not in KINDS or array.dtype.itemsize > 8:
                    raise BadDataset(f"{path}, {name}: expected numbers, got {array.dtype!s:.80}")
                if rest := len(stream.read()):
                    raise BadDataset(f"{path}, {name}: {rest} bytes follow the array's last number")
    except BadDataset:
        raise
    except Exception as error:  # damaged files raise every kind
        raise BadDataset(f"{path}{', ' * bool(name)}{name}: cannot be read ({error})") from error
    return arrays
