"""The rules for energy that is measured for several servers together, and MIG profiles as people write them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from tokwatt.config.mistakes import Rejected, shown
from tokwatt.config.setting import setting as _setting
from tokwatt.units import mig_slices_of


class GpuRule(StrEnum):
    """What divides the energy of a GPU that several servers compute on."""

    EQUAL = "equal"
    MIG_SLICES = "mig_slices"
    TOKENS = "tokens"


class RestRule(StrEnum):
    """What divides the energy of a host or outlet that its GPUs did not draw."""

    GPU_COUNT = "gpu_count"
    GPU_ENERGY = "gpu_energy"
    EQUAL = "equal"
    NONE = "none"


def parse_mig_profile(text: str) -> str:
    """Check the name of a MIG profile. Raises Rejected."""
    if mig_slices_of(text) is None:
        raise Rejected(f"{shown(text)} is no MIG profile", "write it as nvidia-smi does, such as 3g.40gb or 1c.3g.40gb")
    return text


@dataclass(frozen=True, slots=True)
class SharingConfig:
    """Rules that divide energy which is measured for several servers together. What a rule gives is no measurement."""

    gpu: GpuRule | None = field(
        default=None,
        metadata=_setting(
            "divides a GPU that several servers share: `equal`, `mig_slices` (MIG compute slices held) or `tokens` "
            "(tokens processed); omit: such energy stays unattributed, and a GPU may be listed once only"
        ),
    )
    host_rest: RestRule = field(
        default=RestRule.GPU_COUNT,
        metadata=_setting(
            "divides what a host or outlet used beside its GPUs: by GPUs owned, by their energy, equally, or not at all"
        ),
    )
    slices_per_gpu: int = field(
        default=7,
        metadata=_setting(
            "MIG compute slices of a whole GPU (4 on A30); those of no server here keep their part",
            minimum=1,
            maximum=16,
        ),
    )
