"""Turns the wanted lines of a metrics page, and no others, into series. Format knowledge only: no I/O, no engines.

A page has hundreds of lines and a spec wants about twenty, so the lines are found by one search of the bytes for all
names; what a line means is prometheus_client's to say, except that a known `name{labels}` costs a dict lookup.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tokwatt.readings import Malformed

_QUOTED_CHARS = 200  # of a bad line in an error message
_CACHED_PREFIXES = 4096  # far above any server's; a bound for servers that invent labels
_NEWLINE, _HASH, _QUOTE = b"\n"[0], b"#"[0], b'"'[0]
_BLANKS = b" \t"
_AFTER_NAME = b"{ \t"
_PARSE_ERRORS = (ValueError, IndexError, KeyError, TypeError, OverflowError)


@dataclass(frozen=True, slots=True)
class Series:
    """Identity of one series. `id` is its canonical text: labels sorted, so that their order on the page is nothing."""

    name: str
    labels: Mapping[str, str]
    id: str


def series_id(name: str, labels: Mapping[str, str]) -> str:
    """Write a series as `name{a="b"}` with sorted labels, escaped as in the exposition format."""
    if not labels:
        return name
    pairs = ",".join(f'{key}="{_escape(value)}"' for key, value in sorted(labels.items()))
    return f"{name}{{{pairs}}}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


class Lines:
    """What one scraper remembers between pages: the meaning of each `name{labels}` it has seen, and what is wanted."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.known: dict[bytes, Series] = {}
        self._wanted: dict[bytes, None] = {}
        self._pattern: re.Pattern[bytes] | None = None

    def page(self, body: bytes) -> Page:
        """Open one answer's body."""
        if len(self.known) > _CACHED_PREFIXES:
            self.known.clear()
        return Page(body, self)

    def want(self, name: str) -> None:
        """Look for a metric on the pages that follow."""
        if name.encode() not in self._wanted:
            self._wanted[name.encode()] = None
            self._pattern = None

    def find(self, body: bytes) -> dict[bytes, list[tuple[int, int]]]:
        """Find start and end of every line of all wanted metrics; empty where a line may begin in another way.

        The format allows blanks before a name and, newly, the name in braces; no inference server is known to do so.
        """
        if not self._wanted or body[:1] != b"#":
            return {}
        if self._pattern is None:
            names = b"|".join(map(re.escape, self._wanted))
            self._pattern = re.compile(rb"\n([ \t{]|(?:" + names + rb")(?=[\s{]|\Z))")
        found: dict[bytes, list[tuple[int, int]]] = {name: [] for name in self._wanted}
        for match in self._pattern.finditer(body):
            lines = found.get(match[1])
            if lines is None:
                return {}
            end = body.find(b"\n", match.end())
            lines.append((match.start(1), end if end >= 0 else len(body)))
        return found


class Page:
    """One answer's body. `values()` raises Malformed for a bad wanted line; bad unwanted lines are never looked at."""

    def __init__(self, body: bytes, lines: Lines) -> None:
        self._body = body
        self._lines = lines
        self._found = lines.find(body)
        self._read: dict[str, Mapping[str, tuple[Series, float]]] = {}
        self._shown: dict[str, bool] = {}

    def values(self, name: str) -> Mapping[str, tuple[Series, float]]:
        """All series of metric `name` (the sample's name as the server wrote it) by series id."""
        found = self._read.get(name)
        if found is None:
            self._lines.want(name)
            found = self._read[name] = self._parse(name)
        return found

    def shows(self, name: str) -> bool:
        """Tell whether the page knows a metric: a sample of it, or its TYPE line before the first sample exists.

        A name that ends in `*` is a beginning: any metric that starts so will do.
        """
        found = self._shown.get(name)
        if found is None:
            found = self._shown[name] = self._begins(name[:-1]) if name.endswith("*") else self._has(name)
        return found

    def _has(self, name: str) -> bool:
        if any(True for _ in self._spans(name)):
            return True
        return any(f"# TYPE {family} ".encode() in self._body for family in (name, name.removesuffix("_total")))

    def _begins(self, start: str) -> bool:
        body, needle = self._body, start.encode()
        return body.startswith(needle) or b"\n" + needle in body or b"# TYPE " + needle in body

    def help_text(self, name: str) -> str:
        """HELP text of a metric, "" without one. OpenMetrics writes it under the name without `_total`."""
        for family in (name, name.removesuffix("_total")):
            start = self._body.find(f"# HELP {family} ".encode())
            if start >= 0:
                end = self._body.find(b"\n", start)
                return self._body[start : end if end >= 0 else len(self._body)].decode("utf-8", "replace")
        return ""

    def names(self, limit: int) -> tuple[str, ...]:
        """The first few metric names of the page, for messages to people."""
        seen: dict[str, None] = {}
        for line in self._body.split(b"\n"):
            if line and line[0] != _HASH:
                seen[line.replace(b"{", b" ").split(b" ", 1)[0][:80].decode("utf-8", "replace")] = None
            if len(seen) >= limit:
                break
        return tuple(seen)

    def _parse(self, name: str) -> Mapping[str, tuple[Series, float]]:
        found: dict[str, tuple[Series, float]] = {}
        known = self._lines.known
        spans = self._found.get(name.encode())
        for start, end in self._spans(name) if spans is None else spans:
            line = self._body[start:end]
            prefix, _, token = line.rpartition(b" ")
            series = known.get(prefix)
            value = None if series is None else _number(token)
            if series is None or value is None:
                series, value = self._parse_line(line, name)
            if series.id in found:
                raise Malformed(f"the same series twice: {_quote(line)}", where=self._lines.where)
            found[series.id] = (series, value)
        return found

    def _parse_line(self, line: bytes, name: str) -> tuple[Series, float]:
        try:
            sample_name, labels, value, plain = _stock(line)
        except _PARSE_ERRORS as error:
            raise Malformed(f"cannot read the line {_quote(line)}", where=self._lines.where) from error
        if sample_name != name:
            raise Malformed(f"cannot read the line {_quote(line)}", where=self._lines.where)
        series = Series(sample_name, labels, series_id(sample_name, labels))
        prefix, _, token = line.rpartition(b" ")
        # Only a line that is exactly `name{labels} value` teaches a prefix: after one with a timestamp or an
        # exemplar, the text before the last blank would hold the value.
        if plain and _number(token) is not None and (prefix.endswith(b"}") or prefix == name.encode()):
            self._lines.known[prefix] = series
        return series, value

    def _spans(self, name: str) -> Iterator[tuple[int, int]]:
        """Yield start and end of each line that carries a sample of `name`."""
        body, needle = self._body, name.encode()
        at = body.find(needle)
        while at >= 0:
            end = body.find(b"\n", at)
            end = len(body) if end < 0 else end
            after = body[at + len(needle) : at + len(needle) + 1]
            if at == 0 or body[at - 1] == _NEWLINE:
                wanted, start = after in _AFTER_NAME or after.isspace(), at
            else:
                start = body.rfind(b"\n", 0, at) + 1
                wanted = body[start] != _HASH and self._is_late_start(start, at, after, name)
            if wanted:
                yield start, end
            at = body.find(needle, end if wanted else at + len(needle))

    def _is_late_start(self, start: int, at: int, after: bytes, name: str) -> bool:
        """Tell whether a name that does not begin its line is the line's metric all the same."""
        head = self._body[start:at].lstrip(_BLANKS)
        if not head:  # leading blanks are legal
            return after in _AFTER_NAME or after.isspace()
        if head[0] != b"{"[0] or head[-1] != _QUOTE:
            return False
        end = self._body.find(b"\n", at)  # {"name",label="value"} of the newer text format
        try:
            return _stock(self._body[start : end if end >= 0 else None])[0] == name
        except _PARSE_ERRORS:
            return head == b'{"' and after == b'"'


def _stock(line: bytes) -> tuple[str, Mapping[str, str], float, bool]:
    """Parse one line with prometheus_client: name, labels, value, and whether nothing follows the value."""
    text = line.decode("utf-8").strip()
    if " # " in text:
        try:
            return _exemplar_line(text)
        except _PARSE_ERRORS:
            pass  # not an exemplar: " # " may stand in a label value of the older format
    (family,) = parse_text(text + "\n")
    (sample,) = family.samples
    return sample.name, sample.labels, float(sample.value), sample.timestamp is None and " # " not in text


def _exemplar_line(text: str) -> tuple[str, Mapping[str, str], float, bool]:
    # The strict parser allows exemplars on counters only, so it must be told that this is one.
    family_name = text.replace("{", " ", 1).split(" ", 1)[0].removesuffix("_total")
    page = f"# TYPE {family_name} counter\n{text}\n# EOF\n"
    (family,) = parse_openmetrics(page)  # type: ignore[no-untyped-call]
    (sample,) = family.samples
    return sample.name, sample.labels, float(sample.value), False


def _number(token: bytes) -> float | None:
    """Read a value as prometheus_client does: Python's float without underscores; None if it is none."""
    if b"_" in token:
        return None
    try:
        return float(token)
    except ValueError:
        return None


def _quote(line: bytes) -> str:
    text = line[:_QUOTED_CHARS].decode("utf-8", "backslashreplace")
    return repr(text) + ("…" if len(line) > _QUOTED_CHARS else "")
