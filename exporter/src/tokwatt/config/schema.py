"""The settings of the exporter as frozen dataclasses. The field metadata is what docs and checks are made from.

Owns names, defaults, units and limits. Reads nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tokwatt.config.addresses import DEFAULT_PORT, ListenAddress, parse_url
from tokwatt.config.mistakes import Rejected, shown
from tokwatt.config.prices import CapacityPrice, Prices
from tokwatt.config.responses import ResponseConfig
from tokwatt.config.setting import setting as _setting
from tokwatt.config.sharing import SharingConfig, parse_mig_profile

# labels that the exporter or Prometheus itself sets on the series that carry a server's own labels
RESERVED_LABELS = frozenset(
    {
        "server",
        "engine",
        "engine_version",
        "input",
        "output",
        "phases",
        "phase",
        "simulated",
        "role",
        "model",
        "instance",
        "job",
        "le",
        "quantile",
    }
)


def parse_label(name: str, value: str) -> str:
    """Check one of a server's own labels. Raises Rejected."""
    if name in RESERVED_LABELS or name.startswith("__"):
        raise Rejected(f"label {shown(name)} is reserved", "choose another name")
    if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name):
        legal = re.sub(r"[^a-zA-Z0-9_]", "_", name).lstrip("0123456789_")
        raise Rejected(f"{shown(name)} is no legal label name", f"write {legal}" if legal else "use letters, digits, _")
    return value


OWNER_PREFIX = "gpus of "  # begins the names of the sources that find out a server's GPUs


def parse_name(text: str) -> str:
    """Check a name that becomes a label value and a command line argument. Raises Rejected."""
    if text.startswith(OWNER_PREFIX):
        raise Rejected(f"name {shown(text)} begins with {shown(OWNER_PREFIX)}, as tokwatt's own", "choose another name")
    if text != text.strip():
        raise Rejected(f"name {shown(text)} begins or ends with a space", f"write {shown(text.strip())}")
    return text


class Role(StrEnum):
    """What a server does in a deployment."""

    BOTH = "both"
    PREFILL = "prefill"
    DECODE = "decode"
    SUPPORT = "support"


class PhaseMethod(StrEnum):
    """How a server's busy energy is split between prefill and decode."""

    AUTO = "auto"
    FIT = "fit"
    COUNTERS = "counters"
    WEIGHTS = "weights"
    NONE = "none"


class TokenOrigin(StrEnum):
    """Where a server's tokens are read."""

    PAGE = "page"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class GpuSearch:
    """How the GPUs of a server are found out at run time. `options` is an instance of its owner source's class."""

    source: str
    options: object


@dataclass(frozen=True, slots=True)
class GpuSelection:
    """The GPUs a server computes on: every one, the named ones (UUID or index), those that are found, or none."""

    every: bool = False
    devices: tuple[str | int, ...] = ()
    search: GpuSearch | None = None


@dataclass(frozen=True, slots=True)
class PhaseConfig:
    """The split of one server's busy energy between prefill and decode."""

    method: PhaseMethod = field(
        default=PhaseMethod.AUTO,
        metadata=_setting(
            "`auto`: by the engine's own phase seconds where it counts them, else `fit`; "
            "`weights`: by your own ratio; `none`: unsplit. `role: prefill` and `role: decode` need no method"
        ),
    )
    decode_to_prefill: float | None = field(
        default=None,
        metadata=_setting(
            "for `weights`: energy of one decoded token / energy of one computed prompt token", unit="ratio", above=0
        ),
    )

    def __post_init__(self) -> None:
        if self.method is PhaseMethod.WEIGHTS and self.decode_to_prefill is None:
            raise ValueError(
                "decode_to_prefill is missing: `method: weights` needs it; `tokwatt calibrate` measures it"
            )
        if self.method is not PhaseMethod.WEIGHTS and self.decode_to_prefill is not None:
            raise ValueError("decode_to_prefill has no effect without `method: weights`")


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """One inference server."""

    name: str = field(metadata=_setting("label `server`; unique among servers and meters", parse=parse_name))
    url: str = field(
        default="",
        metadata=_setting(
            "its metrics page, http or https; without a path: the usual one of the engine. "
            "Required, but with `tokens: none`",
            parse=parse_url,
        ),
    )
    engine: str | None = field(
        default=None, metadata=_setting("inference engine, see `tokwatt sources`; omit: detected from the exposition")
    )
    gpus: GpuSelection = field(
        default=GpuSelection(),
        metadata=_setting(
            "the GPUs this server computes on: `all`, `none`, a list of UUIDs (GPU or MIG) and indices, or how they "
            "are found out (below); omit: none with several servers; with one all while nobody else computes on any"
        ),
    )
    hosts: tuple[str, ...] | None = field(
        default=None, metadata=_setting("names of host meters whose energy this server shares; omit: all")
    )
    outlets: tuple[str, ...] | None = field(
        default=None,
        metadata=_setting("names of outlet meters that feed this server; omit: all; `[]`: none, then host x PUE"),
    )
    mig_profile: str | None = field(
        default=None,
        metadata=_setting(
            "MIG profile that it computes on, such as 3g.40gb, on each GPU it lists; for `sharing: {gpu: mig_slices}`",
            parse=parse_mig_profile,
        ),
    )
    tokens: TokenOrigin = field(
        default=TokenOrigin.PAGE,
        metadata=_setting(
            "`none`: a node that computes and counts no tokens, such as a follower of multi-node tensor parallelism; "
            "its energy and cost still count"
        ),
    )
    role: Role = field(
        default=Role.BOTH, metadata=_setting("`support`: guardrail, embedding, other pre/post-processing")
    )
    phases: PhaseConfig = field(
        default=PhaseConfig(), metadata=_setting("how its energy is split between prefill and decode")
    )
    separate: bool = field(
        default=False,
        metadata=_setting(
            "true: a frontend or proxy whose requests reach no other server here, so that no token counts twice"
        ),
    )
    labels: Mapping[str, str] = field(
        default_factory=dict,
        metadata=_setting(
            "own labels on `tokwatt_server_info`, also the keys of A/B comparison", parse_item=parse_label
        ),
    )
    model: str | None = field(
        default=None, metadata=_setting("value of the label `model`; omit: what the server says", parse=parse_name)
    )
    timeout_seconds: float = field(default=3.0, metadata=_setting("give up one read after this", unit="seconds"))
    capacity: CapacityPrice | None = field(
        default=None, metadata=_setting("price of this server's compute, in place of `prices.capacity`")
    )
    spec: Mapping[str, object] | None = field(
        default=None, metadata=_setting("which series to read, for a server or version tokwatt does not know")
    )
    bearer_token_file: str | None = field(
        default=None, metadata=_setting("file that holds the token for the metrics page", secret=True)
    )
    ca_file: str | None = field(
        default=None, metadata=_setting("CA certificates (PEM) that an https page is checked against", file=True)
    )
    verify_tls: bool = field(
        default=True, metadata=_setting("false: accept any certificate of an https page; anybody may then answer")
    )


@dataclass(frozen=True, slots=True)
class MeterHeader:
    """What every meter has; the other keys of its entry are the options of its source."""

    source: str = field(metadata=_setting("which power source, see `tokwatt sources`"))
    name: str | None = field(
        default=None,
        metadata=_setting("unique among servers and meters; omit: the name of the source", parse=parse_name),
    )
    machine: str | None = field(
        default=None,
        metadata=_setting(
            "machine that a host meter measures, such as node7. Two host meters of one machine are refused, "
            "and so are two in-band ones and one BMC by two protocols",
            parse=parse_name,
        ),
    )


@dataclass(frozen=True, slots=True)
class MeterConfig:
    """One meter. `options` is an instance of the options class of its source."""

    source: str
    name: str
    options: object
    machine: str | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration."""

    listen: ListenAddress = field(
        default=ListenAddress("127.0.0.1", DEFAULT_PORT),
        metadata=_setting("HOST:PORT, [IPV6]:PORT, or :PORT for every interface"),
    )
    tick_seconds: float = field(
        default=1.0, metadata=_setting("how often tokens and fast meters are read together", unit="seconds")
    )
    window_seconds: float = field(
        default=60.0, metadata=_setting("window of the live gauges, at least two ticks", unit="seconds")
    )
    min_coverage: float = field(
        default=0.9,
        metadata=_setting(
            "part of the window that must be measured for a live gauge to show", unit="ratio", above=0, maximum=1
        ),
    )
    load_distribution: bool | None = field(
        default=None,
        metadata=_setting(
            "count time, energy and tokens by load, for P90 (some 100 series a server); omit: up to 64 servers"
        ),
    )
    reload_endpoint: bool = field(default=False, metadata=_setting("accept `POST /-/reload`; SIGHUP always reloads"))
    servers: tuple[ServerConfig, ...] = field(
        default=(), metadata=_setting("inference servers; omit: the usual ports of this host are tried")
    )
    meters: tuple[MeterConfig, ...] | None = field(
        default=None, metadata=_setting("power sources; omit: every local meter that answers; `[]`: none")
    )
    sharing: SharingConfig = field(
        default_factory=SharingConfig,
        metadata=_setting("rules for energy that is measured for several servers together"),
    )
    prices: Prices = field(default_factory=Prices, metadata=_setting("what capacity and energy cost"))
    responses: tuple[ResponseConfig, ...] = field(
        default=(), metadata=_setting("what a meaningful response takes, for `tokwatt_response_*`")
    )
