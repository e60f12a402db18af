"""What the product name of an NVIDIA GPU says of its sensors.

Owns the names. Sources: nvml.h (GA100), ml-energy/zeus PR 172 (GH200), NVIDIA/k8s-test-infra issue 676 (GB200, GB300).
"""

from __future__ import annotations

import re
from typing import Final

# Grace Hopper: one GPU and one Grace CPU in a module, and the energy counter of the GPU is that of the module.
# Grace Blackwell modules hold two GPUs, whose counters are their own: its module power belongs to neither.
_GRACE_HOPPER: Final = re.compile(r"\bGH\d{3}\b|\bGrace Hopper\b")
# nvmlDeviceGetPowerUsage is a 1 s mean from Ampere on, except on GA100.
_GA100: Final = re.compile(r"\bA(100|800|30)X?\b|\b170HX\b")

MODULE_DETAILS: Final = (("scope", "module"), ("contains", "Grace CPU and its memory"))


def counts_the_module(name: str) -> bool:
    """Whether this GPU's energy counter covers a whole superchip with its CPU."""
    return _GRACE_HOPPER.search(name) is not None


def is_ga100(name: str) -> bool:
    """Whether this is a GA100 (A100, A800, A30), whose power reading is instantaneous."""
    return _GA100.search(name) is not None
