"""Files made to do harm: each is refused with one line, and what it wanted to run or read never is."""

import json
import os
import pickle
import sys

import h5py
import numpy as np
import pytest
import stored
from runs import ROOT
from stored import huge, refusal

from gtp_jax import datasets
from gtp_jax.datasets.builtin.controller import Controller


def load_refused(root, *says):
    text = refusal(lambda: datasets.load("test/x-v0", root=root))
    assert text.startswith("test/x-v0: ") and all(word in text for word in says), text


@pytest.fixture
def outside(tmp_path):
    """Sound rewards in a file of their own, which no dataset may reach."""
    with h5py.File(tmp_path / "outside.hdf5", "w") as file:
        file["rewards"] = np.zeros(2)
    return str(tmp_path / "outside.hdf5")


def replaced(tmp_path, path, put):
    """Writes a dataset in which `put(file)` makes another object at a path."""
    stored.write(tmp_path, "test/x-v0", 2 * [stored.episode(2)], lambda file: (file.pop(path), put(file)))


def test_arrays_that_are_somewhere_or_something_else(tmp_path, sentinel, outside):
    path, elsewhere, evil = "episode_0/rewards", "is stored in another file", pickle.dumps(stored.Sentinel(sentinel))
    (tmp_path / "raw").write_bytes(bytes(16))
    layout, raw = h5py.VirtualLayout((2,), "f8"), [(str(tmp_path / "raw"), 0, 16)]
    layout[:] = h5py.VirtualSource(outside, "rewards", (2,))

    def pickled(file):
        file.create_dataset(path, (2,), h5py.vlen_dtype(np.uint8))[:] = [np.frombuffer(evil, np.uint8)] * 2

    for put, says in (
        (lambda file: file.create_dataset(path, (2,), "f8", external=raw), elsewhere),
        (lambda file: file.create_virtual_dataset(path, layout), elsewhere),
        (pickled, "expected floats or integers, got object"),
        (lambda file: file.create_dataset(path, data=[np.void(evil)] * 2), "expected floats or integers, got |V"),
    ):
        replaced(tmp_path, path, put)
        load_refused(tmp_path, "episode 0, rewards", says)


@pytest.mark.parametrize("path", ["episode_0", "episode_0/observations", "episode_0/rewards"])
def test_arrays_and_groups_that_are_links(tmp_path, outside, path):
    for link in (h5py.SoftLink("/" + path.replace("0", "1")), h5py.ExternalLink(outside, "/rewards")):
        replaced(tmp_path, path, lambda file, link=link: file.__setitem__(path, link))
        load_refused(tmp_path, path.replace("/", ", ").replace("_", " ") + " is a link")


@pytest.mark.parametrize("name", ["main_data.hdf5", "metadata.json"])
def test_files_that_lead_out_of_the_folder(tmp_path, name):
    for put, says in (
        (lambda path: path.symlink_to(tmp_path / name), "leads out of its folder"),
        (lambda path: path.symlink_to("/dev/zero"), "leads out of its folder"),
        (os.mkfifo, "is not an ordinary file"),  # reading it would wait for ever
    ):
        path = stored.write(tmp_path, "test/x-v0", [stored.episode(2)]) / name
        path.rename(tmp_path / name)
        put(path)
        load_refused(tmp_path, name, says)
        path.unlink()


def test_a_datasets_own_folder_may_be_a_link_and_no_folder_inside(tmp_path):
    """A file cannot bring the former: the user made it."""
    folder = stored.write(tmp_path, "test/y-v0", [stored.episode(2)])
    (tmp_path / "test" / "z-v0").symlink_to(tmp_path / "test" / "y-v0")
    assert datasets.load("test/z-v0", root=tmp_path).batch.reward.shape == (2,)
    (tmp_path / "test" / "x-v0").mkdir()
    (tmp_path / "test" / "x-v0" / "data").symlink_to(folder)
    load_refused(tmp_path, "leads out of its folder")


def test_metadata_of_a_hundred_megabytes(tmp_path):
    folder = stored.write(tmp_path, "test/x-v0", [stored.episode(2)])
    huge(folder / "metadata.json")
    load_refused(tmp_path, "metadata.json is not read", "104,857,600 bytes")
    (folder / "metadata.json").write_text("[" * 1_000_000)
    load_refused(tmp_path, "not JSON")


ENTRIES = (
    {"id": "Evil-v0", "entry_point": "os:system", "kwargs": {"command": "mkdir SENTINEL"}},
    {"id": "evil_module:Evil-v0", "entry_point": "evil_module:make", "kwargs": {}},
    {"id": "Hopper-v5", "entry_point": "os:mkdir", "kwargs": {"path": "SENTINEL"}},
    {"id": "Hopper-v5", "entry_point": "os:mkdir", "additional_wrappers": [{"entry_point": "os:mkdir", "kwargs": {}}]},
)


@pytest.mark.parametrize("entry", ENTRIES)
def test_environments_are_looked_up_and_never_run(tmp_path, sentinel, entry, monkeypatch):
    (tmp_path / "evil_module.py").write_text(f"import os; os.mkdir({str(sentinel)!r})")
    monkeypatch.syspath_prepend(str(tmp_path))
    text = json.dumps(entry).replace("SENTINEL", str(sentinel))
    hopper = stored.counting(0, 2, size=11, actions=3)
    for name in ("env_spec", "eval_env_spec"):
        stored.write(tmp_path, "test/x-v0", [hopper], **{"env_spec": stored.spec()} | {name: text})
        if "path" in entry.get("kwargs", {}):
            load_refused(tmp_path, f"{name}: argument 'path' = ", "is not taken from a file")
        elif entry["id"] == "Hopper-v5":
            load_refused(tmp_path, f"{name}: wrapper 'mkdir' cannot be rebuilt")
        else:
            load_refused(tmp_path, name, repr(entry["id"]), "cannot be built")
    assert "evil_module" not in sys.modules


def controller(path="ant.npz"):
    return Controller.load(path, 29, 8)


def test_a_pickled_controller_is_not_unpickled(tmp_path, sentinel):
    arrays, evil = controller()._asdict(), tmp_path / "evil.npz"
    np.savez(evil, **arrays | {"b2": np.array([stored.Sentinel(sentinel)], object)})
    contents = [evil.read_bytes(), b"", b"PK\3\4 no", pickle.dumps(stored.Sentinel(sentinel)), b"\x93NUMPY\1\0"]
    for content in contents:
        evil.write_bytes(content)
        assert "evil.npz: not an npz file of plain arrays" in refusal(lambda: controller(evil))
    np.save(tmp_path / "alone.npy", arrays["w0"])
    assert "alone.npy: not an npz file" in refusal(lambda: controller(tmp_path / "alone.npy"))
    with pytest.raises(FileNotFoundError):
        controller(tmp_path / "missing.npz")


def test_nothing_in_the_package_unpickles():
    for path in [*(ROOT / "gtp_jax").rglob("*.py"), *(ROOT / "experiments").rglob("*.py")]:
        code = path.read_text()
        assert "import pickle" not in code and "allow_pickle=True" not in code, path
        assert code.count("np.load(") + code.count("format.read_array(") == code.count("allow_pickle=False"), path
