"""Readings of who computes on which GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GpuHold:
    """One GPU that an inference server computes on, or one part of it.

    `own` and `others` name holders: processes or pods. Who is another holder to one server may be another server here.
    """

    device: str  # UUID of the whole GPU, also where a MIG instance of it is held
    mig_slices: float | None = None  # MIG compute slices held; None: not a MIG instance
    own: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ServerGpus:
    """What an owner source found out about one inference server's GPUs."""

    holds: tuple[GpuHold, ...] | None  # None: could not be found out; empty: it computes on none
    how: str  # for a person: by which pod, port and process; or why it could not be found out
    but: tuple[str, ...] | None = None  # it also owns every measured GPU but these and `holds`; None: only `holds`


@dataclass(frozen=True, slots=True)
class OwnersReading:
    """One look at who computes on which GPU."""

    at_seconds: float  # monotonic
    servers: Mapping[str, ServerGpus]  # by server
