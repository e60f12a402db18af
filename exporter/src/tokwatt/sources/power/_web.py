"""What sources behind an http or https address share: options, one GET with the instant it holds for, and a frame.

Owns the shared option fields. Knows no format of an answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from yarl import URL

from tokwatt.readings import Clock, OwnerContext, SourceContext
from tokwatt.sources._frame import TimedFrame, above_zero
from tokwatt.sources._http import Access, Answer, Http, explain_page, parse_url, safe_url


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """Options of a meter behind an http or https address."""

    url: str = field(metadata={"help": "its metrics page, http or https"})
    bearer_token_file: str | None = field(
        default=None, metadata={"help": "file that holds the token for the page", "secret": True}
    )
    ca_file: str | None = field(
        default=None, metadata={"help": "CA certificates (PEM) that an https page is checked against", "file": True}
    )
    verify_tls: bool = field(
        default=True, metadata={"help": "false: accept any certificate of an https page; anybody may then answer"}
    )
    period_seconds: float = field(default=5.0, metadata={"help": "time between reads", "unit": "s"})
    timeout_seconds: float = field(default=3.0, metadata={"help": "longest wait for one read", "unit": "s"})

    def __post_init__(self) -> None:
        try:
            url = parse_url(self.url)
        except ValueError as error:
            raise ValueError(f"url {error}") from None
        if url.user or url.password:
            raise ValueError("url must hold no user name or password: use bearer_token_file")
        above_zero(period_seconds=self.period_seconds, timeout_seconds=self.timeout_seconds)


class WebAddress:
    """One address and how to be let in. Connections open at the first read."""

    def __init__(self, options: WebOptions, clock: Clock) -> None:
        self.url = parse_url(options.url)
        self.where = safe_url(self.url)
        self._access = Access(options.bearer_token_file or "", options.ca_file or "", options.verify_tls)
        self._clock = clock
        self._http = Http()

    async def get(self, url: URL, timeout_seconds: float, *, switch_on: str = "") -> tuple[Answer, float]:
        """Fetch `url`: the answer and the middle of the exchange in monotonic seconds. Raises SourceError only."""
        answer = await self._http.get(
            url, timeout_seconds=timeout_seconds, clock=self._clock, access=self._access, switch_on=switch_on
        )
        return answer, (answer.sent_seconds + answer.answered_seconds) / 2

    async def page(self, timeout_seconds: float, hint: str) -> tuple[Answer, float]:
        """Fetch the metrics page at the address; as `get`. Raises SourceError also for what is no such page."""
        answer, at_seconds = await self.get(self.url, timeout_seconds)
        problem = explain_page(answer, self.where, hint)
        if problem is not None:
            raise problem
        return answer, at_seconds

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()


class WebSource(TimedFrame):
    """A source behind one address, read on a timer of its own. `self._web` is the address."""

    def __init__(self, options: WebOptions, context: SourceContext | OwnerContext) -> None:
        super().__init__(context.name, options)
        self._web = WebAddress(options, context.clock)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._web.aclose()
