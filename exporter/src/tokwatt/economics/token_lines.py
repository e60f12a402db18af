"""Processed tokens of each server over time, for the rule that divides a shared GPU by tokens. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tokwatt.ledger.line import Line
from tokwatt.ledger.server import ServerLedger
from tokwatt.ledger.timeline import Cut


class TokenLines:
    """Cumulative tokens, computed input plus generated, of the servers that are followed.

    A server that does not answer counts nothing while it is silent. What it is found to have counted when it answers
    again belongs to the interval in which it did.
    """

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines: dict[str, Line | None] = {}

    def watch(self, server: str) -> None:
        """Follow a server from now on."""
        self._lines.setdefault(server, None)

    def follow(self, servers: Mapping[str, ServerLedger]) -> None:
        """Take in the cuts since the last call."""
        for name in self._lines:
            ledger = servers.get(name)
            for cut in ledger.timeline.after(self.end_seconds(name)) if ledger else ():
                self._append(name, cut)

    def _append(self, name: str, cut: Cut) -> None:
        line = self._lines[name]
        if line is None:
            self._lines[name] = Line(cut.at_seconds, _processed(cut))
        else:
            line.append(cut.at_seconds, max(line.end_value, _processed(cut)))

    def end_seconds(self, server: str) -> float:
        """Instant up to which a server's tokens are known; forever for one that is not followed."""
        if server not in self._lines:
            return math.inf
        line = self._lines[server]
        return line.end_seconds if line is not None else -math.inf

    def between(self, server: str, start_seconds: float, end_seconds: float) -> float:
        """Tokens that a followed server processed in (start, end]; 0 before its first reading."""
        line = self._lines[server]
        return 0.0 if line is None else line.at(end_seconds) - line.at(start_seconds)

    def forget_before(self, at_seconds: float) -> None:
        """Drop history that no division needs any more."""
        for line in self._lines.values():
            if line is not None:
                line.forget_before(at_seconds)


def _processed(cut: Cut) -> float:
    return sum((state.input_tokens or 0.0) + (state.output_tokens or 0.0) for state in cut.tokens.values())
