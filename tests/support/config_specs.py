"""Power source specs in the shape that real sources declare, for tests of the configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from tokwatt.readings import Boundary, PowerSource, PowerSourceSpec, SourceContext

ENGINES = ("vllm", "sglang", "tgi", "llamacpp")


class Privilege(StrEnum):
    USER = "user"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class NvmlLike:
    gpus: tuple[str, ...] = field(default=("all",), metadata={"help": "GPUs to read"})
    timeout_seconds: float = field(default=1.0, metadata={"help": "longest wait", "unit": "s"})
    sampling_seconds: float = field(default=0.1, metadata={"help": "sampling period", "unit": "s"})

    def __post_init__(self) -> None:
        if not 0.05 <= self.sampling_seconds <= 1.0:
            raise ValueError("sampling_seconds must be from 0.05 to 1.0")


@dataclass(frozen=True, slots=True)
class IpmiLike:
    host: str = field(metadata={"help": "address of the BMC"})
    username: str = field(metadata={"help": "user of the BMC"})
    port: int = field(default=623, metadata={"help": "UDP port", "minimum": 1, "maximum": 65535})
    password_file: str | None = field(default=None, metadata={"help": "file with the password", "secret": True})
    password_env: str | None = field(default=None, metadata={"help": "variable with the password", "secret": True})
    cipher_suite: int = field(default=17, metadata={"help": "RMCP+ cipher suite"})
    privilege: Privilege = field(default=Privilege.USER, metadata={"help": "privilege level"})
    period_seconds: float = field(default=5.0, metadata={"help": "time between reads", "unit": "seconds"})
    timeout_seconds: float = field(default=3.0, metadata={"help": "longest wait", "unit": "seconds"})


@dataclass(frozen=True, slots=True)
class RedfishLike:
    host: str = field(metadata={"help": "address of the BMC"})


@dataclass(frozen=True, slots=True)
class InBandLike:
    timeout_seconds: float = field(default=1.0, metadata={"help": "longest wait", "unit": "s"})


@dataclass(frozen=True, slots=True)
class SeriesLike:
    boundary: Boundary = field(metadata={"help": "what it contains"})
    url: str = field(default="", metadata={"help": "its page"})


def _open(options: object, context: SourceContext) -> PowerSource:
    raise AssertionError("loading a configuration opens nothing")


def _spec(name: str, options: type, *boundaries: Boundary, detect: bool) -> PowerSourceSpec:
    return PowerSourceSpec(name, f"Reads {name}.", "nothing", boundaries, options, _open, detect=detect)


POWER_SPECS = {
    "nvml": _spec("nvml", NvmlLike, Boundary.GPU, detect=True),
    "ipmi": _spec("ipmi", IpmiLike, Boundary.HOST, detect=False),
    "redfish": _spec("redfish", RedfishLike, Boundary.HOST, detect=False),
    "ipmi_local": _spec("ipmi_local", InBandLike, Boundary.HOST, detect=True),
    "series": _spec("series", SeriesLike, *Boundary, detect=False),
}
