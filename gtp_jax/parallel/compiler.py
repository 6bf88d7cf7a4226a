"""The CPU: its cores, and options of the XLA compiler on x86, whose measured gains docs/speed.md has."""

import os
import platform
from typing import Protocol

Options = dict[str, bool | int | str]


class Device(Protocol):
    """The part of `jax.Device` that is read; jaxlib ships no types."""

    platform: str  # "cpu", "gpu" or "tpu"
    device_kind: str  # the model's name


def _options(device: Device, options: Options) -> Options:
    return options if device.platform == "cpu" and platform.machine().lower() in ("x86_64", "amd64") else {}


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def update_options(device: Device) -> Options:
    """Options for many updates: wide vectors; products by Eigen, since YNNPACK copies the transposes of gradients."""
    return _options(device, {"xla_cpu_prefer_vector_width": 512, "xla_cpu_experimental_ynn_fusion_type": ""})


def acting_options(device: Device) -> Options:
    """Options for sampling few actions: operations in sequence, since threads cost more than small products."""
    scheduler = "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"
    return _options(device, {"xla_cpu_prefer_vector_width": 512, "xla_cpu_scheduler_type": scheduler})
