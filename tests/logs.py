"""Reading back what TensorBoard and Weights & Biases are given, from their files."""

import json
import struct
import time
from pathlib import Path


def read_events(directory: Path) -> list[tuple[str, int, float]]:
    """(name, step, value) of every scalar below a folder of event files, in order.

    A file is TFRecords: length (8 bytes), its checksum (4), an event, its checksum (4).
    """
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(directory.rglob("events.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
            at += 16 + length
    return found


def read_history(workdir: Path, last: int) -> list[tuple[int, dict]]:
    """(step, metrics) of every row in the offline runs below a run's directory, in order, once step `last` is there.

    A process of its own writes them, which may still be busy when the run has ended.
    """
    deadline = time.monotonic() + 60
    while (found := _history(workdir))[-1:] == [] or found[-1][0] < last:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def _history(workdir: Path) -> list[tuple[int, dict]]:
    """What is there now.

    A file is LevelDB's log format after a header of 7 bytes: blocks of 32 KiB with checksum (4), length (2), kind (1)
    and a record or, of the kinds 2, 3 and 4, its first, middle or last part.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    found = []
    for path in sorted((workdir / "wandb").glob("offline-run-*/*.wandb")):
        data, at, part = path.read_bytes(), 7, b""
        while at + 7 <= len(data):
            if 2**15 - at % 2**15 < 7:
                at += 2**15 - at % 2**15
                continue
            length, kind = struct.unpack_from("<HB", data, at + 4)
            part, at = part + data[at + 7 : at + 7 + length], at + 7 + length
            if kind in (1, 4):
                record, part = Record.FromString(part), b""
                if record.HasField("history"):
                    row = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
                    values = {name: json.loads(value) for name, value in row.items() if not name.startswith("_")}
                    found.append((record.history.step.num, values))
    return found
