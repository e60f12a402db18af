"""Whole servers through the Redfish service of their BMC: one chassis, its power or a fine energy counter.

Owns the options, the spec, and when a reading is refused: stale, or a counter that does not keep step with the power.
Source: DMTF DSP0266 (protocol), DSP2046 (resources).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final

from tokwatt.quantities import Joules, Watts
from tokwatt.readings import (
    Boundary,
    DeviceInfo,
    EnergyCounter,
    EnergyReading,
    Method,
    PowerReading,
    PowerSample,
    PowerSourceSpec,
    Precision,
    SourceContext,
    SourceError,
    Unavailable,
)
from tokwatt.sources._http import Access, parse_url
from tokwatt.sources.power._password import password_of, refused_file
from tokwatt.sources.power._precision import REDFISH_POWER, UNSTATED_GAIN_RATIO, declared
from tokwatt.sources.power._redfish_chassis import Chassis, find_chassis
from tokwatt.sources.power._redfish_client import Document, NoReading, RedfishClient, RedfishSettings
from tokwatt.sources.power._redfish_power import FINE_COUNTER_JOULES, Shown, Way
from tokwatt.sources.power._server_meter import ServerMeter

_REQUEST_SHARE: Final = 0.9  # of the read's deadline: the message that says most comes first
_REDISCOVER_SECONDS: Final = 60.0  # a chassis that showed power and no longer does is looked for anew
_STALE_SECONDS: Final = 30.0
_STALE_PERIODS: Final = 3.0
_GAP_PERIODS: Final = 3.5
_KEEPS_STEP: Final = (0.25, 4.0)  # energy between two reads, as a share of what the power beside it makes of them
_RENEWED_SECONDS: Final = 1.0  # BMCs read their sensors about once a second; Redfish has SensingInterval, rarely filled
_ENOUGH_STEPS: Final = 4  # steps of the counter that are due before it is compared


@dataclass(frozen=True, slots=True)
class RedfishOptions:
    """Options of `source: redfish`."""

    url: str = field(
        metadata={
            "help": "address of the BMC: https://HOST or https://HOST:PORT; http shows the password to the network"
        }
    )
    username: str = field(metadata={"help": "account of the BMC; the role ReadOnly is enough"})
    password_file: str | None = field(default=None, metadata={"help": "file that holds the password", "secret": True})
    password_env: str | None = field(
        default=None, metadata={"help": "environment variable that holds the password", "secret": True}
    )
    ca_file: str | None = field(
        default=None, metadata={"help": "certificates (PEM) that the BMC's is verified by", "file": True}
    )
    fingerprint: str | None = field(
        default=None,
        metadata={
            "help": "SHA-256 of the BMC's certificate, for one that is signed by itself: openssl x509 -fingerprint"
        },
    )
    verify_tls: bool = field(default=True, metadata={"help": "false: take any certificate. Prefer fingerprint"})
    chassis: str | None = field(
        default=None,
        metadata={"help": "Id of the chassis that is the server; omit: found, where only one can be meant"},
    )
    period_seconds: float = field(default=5.0, metadata={"help": "time between reads", "unit": "s"})
    timeout_seconds: float = field(default=3.0, metadata={"help": "longest wait for one read", "unit": "s"})

    def __post_init__(self) -> None:
        try:
            url = parse_url(self.url)
        except ValueError as error:
            raise ValueError("url must be https://HOST or https://HOST:PORT") from error
        for wrong, message in (
            (bool(url.user or url.password), "url must not hold a user or password: use username and password_file"),
            (url.path not in ("", "/", "/redfish/v1", "/redfish/v1/"), "url must be https://HOST or https://HOST:PORT"),
            (not self.username, "username must name an account of the BMC"),
            (
                bool(self.password_file and self.password_env),
                "only one of password_file and password_env may be set",
            ),
            (
                self.fingerprint is not None and not re.fullmatch(r"[0-9a-f]{64}", _plain(self.fingerprint)),
                "fingerprint must be a SHA-256: 64 hexadecimal digits, with or without colons",
            ),
            (bool(self.fingerprint and self.ca_file), "fingerprint takes the place of ca_file: keep one of the two"),
            (bool(self.fingerprint) and url.scheme != "https", "fingerprint needs a url with https"),
            (self.period_seconds <= 0, "period_seconds must be above 0"),
            (self.timeout_seconds <= 0, "timeout_seconds must be above 0"),
        ):
            if wrong:
                raise ValueError(message)

    @property
    def host(self) -> str:
        """Name of the BMC, for people."""
        return parse_url(self.url).host or ""


@dataclass(frozen=True, slots=True)
class _Seen:
    """The last answer, to tell a counter that stands and a measurement that is stale from good ones."""

    shown: Shown
    at_seconds: float
    reading_time_since: float
    counted_joules: float | None = None  # the counter when it was last compared with the power beside it
    expected_joules: float = 0.0  # what the power made since then


class RedfishSource(ServerMeter):
    """One server's input power, read on its own timer."""

    def __init__(self, options: RedfishOptions, context: SourceContext) -> None:
        super().__init__(context, options, f"BMC {options.host}")
        self._options = options
        self._client = RedfishClient(_settings(options), lambda: _password(options), context.clock)
        self._found: tuple[Chassis, Way] | None = None
        self._looked_at: dict[str, Document | NoReading] = {}
        self._nothing: tuple[float, SourceError] | None = None
        self._failing_since: float | None = None
        self._seen: _Seen | None = None
        self._counter_refused = False

    async def aclose(self) -> None:
        """Log out, so that the BMC can give the session to others."""
        await self._client.aclose()

    async def _read(self) -> PowerReading:
        chassis, way = self._found or await self._discover()
        clock = self._context.clock
        before = clock()
        try:
            shown = await way.read(self._client.get)
        except NoReading:
            self._note_failure(clock())
            raise
        self._failing_since = None
        reading = self._judge(shown, (before + clock()) / 2)
        return PowerReading((reading,), (self._describe(reading, chassis, way, shown),))

    def _progress(self) -> str:
        return f" ({len(self._looked_at)} resources looked at; the next read goes on)" if self._looked_at else ""

    async def _discover(self) -> tuple[Chassis, Way]:
        clock = self._context.clock
        if self._nothing is not None and clock() - self._nothing[0] < _REDISCOVER_SECONDS:
            raise self._nothing[1].with_traceback(None)
        try:
            self._found = await find_chassis(self._look, self._options.chassis, self._where)
        except NoReading as error:
            self._nothing = (clock(), error)
            self._looked_at.clear()
            raise
        except Unavailable:
            self._looked_at.clear()
            raise
        self._looked_at.clear()
        self._nothing = None
        return self._found

    async def _look(self, path: str) -> Document:
        """Get a resource once during discovery, which may take several reads."""
        if path not in self._looked_at:
            try:
                self._looked_at[path] = await self._client.get(path)
            except NoReading as error:
                self._looked_at[path] = error
        known = self._looked_at[path]
        if isinstance(known, NoReading):
            raise known.with_traceback(None)
        return known

    def _note_failure(self, now: float) -> None:
        if self._failing_since is None:
            self._failing_since = now
        elif now - self._failing_since >= _REDISCOVER_SECONDS:
            self._found = self._failing_since = None

    def _judge(self, shown: Shown, at_seconds: float) -> EnergyReading:
        """Turn what was shown into a reading. Raises Unavailable for a measurement that is stale."""
        seen, self._seen = self._seen, _Seen(shown, at_seconds, at_seconds)
        if seen is not None and shown.reading_time and shown.reading_time == seen.shown.reading_time:
            self._seen = replace(self._seen, reading_time_since=seen.reading_time_since)
            stood_seconds = at_seconds - seen.reading_time_since
            if stood_seconds > max(_STALE_SECONDS, _STALE_PERIODS * self._options.period_seconds):
                what = f"the sensor's ReadingTime has stood at {shown.reading_time[:40]} for {stood_seconds:.0f} s"
                raise Unavailable(what, where=self._where, hint="its value is not live; the BMC may need a restart")
        if shown.joules is not None and not self._counter_refused:
            self._counter_refused = not self._keeps_step(seen, shown.joules)
        if shown.joules is None or self._counter_refused:
            return PowerSample(self._meter, Watts(shown.watts), at_seconds)
        counter = self._context.meter(Boundary.HOST, self.name, Method.COUNTER)
        return EnergyCounter(counter, Joules(shown.joules), at_seconds)

    def _keeps_step(self, before: _Seen | None, joules: float) -> bool:
        """Whether an energy counter moved as the power beside it says. One in hidden coarse steps stands or leaps."""
        now = self._seen
        if before is None or now is None or before.counted_joules is None or joules < before.counted_joules:
            self._compare_from(joules, 0.0)
            return True
        seconds = now.at_seconds - before.at_seconds
        if seconds > _GAP_PERIODS * self._options.period_seconds:  # nobody knows what the power was in a gap
            self._compare_from(joules, 0.0)
            return True
        expected = before.expected_joules + 0.5 * (before.shown.watts + now.shown.watts) * seconds
        if expected < _ENOUGH_STEPS * FINE_COUNTER_JOULES:
            self._compare_from(before.counted_joules, expected)
            return True
        self._compare_from(joules, 0.0)
        low, high = _KEEPS_STEP
        return low * expected <= joules - before.counted_joules <= high * expected

    def _compare_from(self, counted_joules: float, expected_joules: float) -> None:
        if self._seen is not None:
            self._seen = replace(self._seen, counted_joules=counted_joules, expected_joules=expected_joules)

    def _describe(self, reading: EnergyReading, chassis: Chassis, way: Way, shown: Shown) -> DeviceInfo:
        is_counter = isinstance(reading, EnergyCounter)
        details = {
            "address": self._options.host,
            "chassis": chassis.name,
            "reading": "EnvironmentMetrics energy counter" if is_counter else way.title,
            "resolution": "" if is_counter else f"{shown.step_watts:g} W",
            "accuracy": "" if shown.accuracy_ratio is None else f"{shown.accuracy_ratio * 100:g} %",
            "login": self._client.login,
        }
        precision = declared(
            Precision(UNSTATED_GAIN_RATIO if shown.accuracy_ratio is None else shown.accuracy_ratio),
            self._context,
            resolution_watts=0.0 if is_counter else shown.step_watts,
            resolution_joules=shown.step_joules if is_counter else 0.0,
            renewed_every_seconds=shown.sensing_seconds or _RENEWED_SECONDS,
        )
        shown_details = tuple((key, value) for key, value in details.items() if value)
        return DeviceInfo(reading.meter, chassis.title, details=shown_details, precision=precision)


def _settings(options: RedfishOptions) -> RedfishSettings:
    return RedfishSettings(
        url=parse_url(options.url).origin(),
        username=options.username,
        timeout_seconds=options.timeout_seconds * _REQUEST_SHARE,
        access=Access(
            ca_file=options.ca_file or "",
            verify_tls=options.verify_tls,
            fingerprint=_plain(options.fingerprint or ""),
        ),
    )


def _plain(fingerprint: str) -> str:
    return fingerprint.replace(":", "").lower()


def _password(options: RedfishOptions) -> str:
    try:
        return password_of(options).decode()
    except UnicodeDecodeError:
        raise refused_file(options, "not text") from None


SPEC = PowerSourceSpec(
    name="redfish",
    summary="whole servers through the Redfish service of their BMC: power, or a fine energy counter",
    needs="a BMC with Redfish and an account with the role ReadOnly; its certificate, CA or fingerprint",
    boundaries=(Boundary.HOST,),
    method="power integrated; a counter only where its steps are fine",
    resolution="usually 1 W, renewed every second to every minute by the BMC",
    precisions=(("power", REDFISH_POWER),),
    options=RedfishOptions,
    build=RedfishSource,
    traps=(
        "One chassis is read. Chassis that report power often contain each other, so they are never added.",
        "GPUs in a tray of their own may be another chassis: look at what `tokwatt probe` names.",
        "An energy counter is used only if its steps are at most 100 J (five decimals of kWh) and fit the power.",
        "A value may be seconds old. Only a sensor with a ReadingTime shows it: one that stands is refused.",
        "Minimum, maximum and average of the legacy Power resource cover minutes: they are not used.",
        "Values in vendors' own (Oem) properties are not read.",
    ),
)
