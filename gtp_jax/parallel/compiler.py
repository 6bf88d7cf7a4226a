"""Options of the XLA compiler, on x86 CPUs only; docs/speed.md has the measured gains."""

import platform
from typing import Protocol

Options = dict[str, bool | int | str]


class Device(Protocol):
    """The part of `jax.Device` that is read; jaxlib ships no types."""

    platform: str  # "cpu", "gpu" or "tpu"
    device_kind: str  # the model's name


def _options(device: Device, options: Options) -> Options:
    return options if device.platform == "cpu" and platform.machine().lower() in ("x86_64", "amd64") else {}


def update_options(device: Device) -> Options:
    """Compiler options for programs of many updates.

    Vectors of 512 bits where there are any, in place of 256; matrix products by Eigen instead of YNNPACK's fusions,
    which copy transposed operands, as gradients have them.
    """
    return _options(device, {"xla_cpu_prefer_vector_width": 512, "xla_cpu_experimental_ynn_fusion_type": ""})


def acting_options(device: Device) -> Options:
    """Compiler options for programs that sample few actions at a time.

    Operations run one after the other: handing them to other threads takes longer than a small product.
    """
    scheduler = "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"
    return _options(device, {"xla_cpu_prefer_vector_width": 512, "xla_cpu_scheduler_type": scheduler})
