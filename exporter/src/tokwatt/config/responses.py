"""Settings of meaningful responses: attempts, support, and the application's own counter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tokwatt.config.addresses import parse_url
from tokwatt.config.mistakes import Rejected, shown
from tokwatt.config.setting import setting


def parse_metric(text: str) -> str:
    """Check the bare name of a metric. Raises Rejected."""
    if not text.isprintable() or set(text) & set(' {}"'):
        raise Rejected(f"{shown(text)} is no metric name", "write the bare name; labels go into labels")
    return text


@dataclass(frozen=True, slots=True)
class CounterConfig:
    """A counter on the metrics page of an application."""

    url: str = field(metadata=setting("the application's metrics page, http or https", parse=parse_url))
    metric: str = field(
        metadata=setting("the counter's name as the page writes it, often ending in _total", parse=parse_metric)
    )
    labels: Mapping[str, str] = field(
        default_factory=dict,
        metadata=setting("labels that a series must have to count, with their values; the series that have add up"),
    )
    timeout_seconds: float = field(default=3.0, metadata=setting("give up one read after this", unit="seconds"))
    bearer_token_file: str | None = field(
        default=None, metadata=setting("file that holds the token for the metrics page", secret=True)
    )
    ca_file: str | None = field(
        default=None, metadata=setting("CA certificates (PEM) that an https page is checked against", file=True)
    )
    verify_tls: bool = field(
        default=True, metadata=setting("false: accept any certificate of an https page; anybody may then answer")
    )


@dataclass(frozen=True, slots=True)
class ResponseConfig:
    """What one meaningful response of a server takes beyond its generated tokens."""

    server: str = field(metadata=setting("name of a server above"))
    attempts: float = field(
        default=1.0, metadata=setting("mean attempts per meaningful response", unit="attempts", minimum=1)
    )
    support_tokens: float = field(
        default=0.0,
        metadata=setting(
            "mean pre/post-processing tokens per response, of services that tokwatt does not measure",
            unit="tokens",
            minimum=0,
        ),
    )
    support_dollars_per_token: float = field(
        default=0.0, metadata=setting("price of such a token", unit="dollars per token", minimum=0)
    )
    meaningful: CounterConfig | None = field(
        default=None,
        metadata=setting(
            "counter of meaningful responses, such as an application's accepted answers: attempts are then measured"
        ),
    )
    support: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            "servers with `role: support` that work for these responses: their tokens, dollars and joules are added"
        ),
    )

    @property
    def counter_name(self) -> str:
        """Name of the counter as a source; "" without one."""
        return f"{self.server}/meaningful" if self.meaningful is not None else ""
