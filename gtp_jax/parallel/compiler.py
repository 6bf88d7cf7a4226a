"""What XLA is told to do otherwise than by itself, on x86 processors only. What it gives: docs/speed.md."""

import platform
from typing import Any

import jax


def _is_x86(device: jax.Device) -> bool:
    return device.platform == "cpu" and platform.machine().lower() in ("x86_64", "amd64")


def update_options(device: jax.Device) -> dict[str, Any]:
    """Compiler options for programs of many updates.

    Vectors of 512 bits where there are any, in place of 256; matrix products by Eigen instead of YNNPACK's fusions,
    which copy transposed operands, as gradients have them.
    """
    if not _is_x86(device):
        return {}
    return {"xla_cpu_prefer_vector_width": 512, "xla_cpu_experimental_ynn_fusion_type": ""}


def acting_options(device: jax.Device) -> dict[str, Any]:
    """Compiler options for programs that sample actions, few at a time.

    Operations one after the other: handing them to other threads takes longer than a small product.
    """
    if not _is_x86(device):
        return {}
    return {"xla_cpu_prefer_vector_width": 512, "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
