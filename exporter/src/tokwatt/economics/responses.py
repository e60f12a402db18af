"""Cost and energy per meaningful response: Et * A * Ct + Pt * Cp, each term measured or configured. Pure.

Et, generated tokens per finished response, and Ct, dollars per generated token, have generated tokens in common, so
their product is dollars per finished response whatever the prompts were: Ct carries the price of the input.
A ratio of two counts is made over the same instants: where an application's counter or a support server was last read
a little before the window's end, its ratio ends there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from tokwatt.economics import equations
from tokwatt.economics.history import History, Sums, summed
from tokwatt.economics.plan import Plan, ResponsePlan
from tokwatt.economics.window import COST, TOKENS, WIDEST_WINDOWS, Point, Tally, WindowSums
from tokwatt.ledger.ledger import Ledger
from tokwatt.quantities import Dollars, Joules, Tokens
from tokwatt.snapshot import Given, ResponseTerms

Amount = TypeVar("Amount", Tokens, Dollars, Joules, float)
LATE_TICKS = 3.5  # a ratio may end this much before the window does


@dataclass(frozen=True, slots=True)
class PerResponse:
    """What one meaningful response costs and takes."""

    cost_dollars: Dollars | None
    energy_joules: Mapping[Given, Joules]
    terms: ResponseTerms


@dataclass(frozen=True, slots=True)
class Measured:
    """The window of one server, and its sums by boundary name, TOKENS and COST: of what covers enough of it."""

    name: str
    window: WindowSums
    sums: Mapping[str, Sums]


class ResponseBook:
    """Histories of the servers whose windows must be asked about each other, and what a response takes."""

    def __init__(self, plan: Plan, ledger: Ledger) -> None:
        self._ledger = ledger
        self._histories: dict[str, History] = {}
        self._plans: dict[str, ResponsePlan] = {}
        self._served: dict[str, tuple[str, ...]] = {}
        self.plan = plan
        self.reconfigure(plan)

    def reconfigure(self, plan: Plan) -> None:
        """Take over a new plan; histories of servers that are still wanted go on."""
        resized = plan.window_seconds != self.plan.window_seconds
        self.plan = plan
        plans = {server.name: server.response for server in plan.servers if server.response is not None}
        self._plans = plans
        self._served = {
            helper: tuple(name for name, response in plans.items() if helper in response.support)
            for response in plans.values()
            for helper in response.support
        }
        wanted = {name for name, response in plans.items() if response.support or response.meaningful}
        wanted |= self._served.keys()
        kept = {} if resized else self._histories
        self._histories = {name: kept.get(name) or History(plan.window_seconds) for name in wanted}

    def add(self, name: str, point: Point) -> None:
        """Take a point that a server's window has just taken."""
        if name not in self._histories:
            return
        self._histories[name].add(point)
        plan = self._plans.get(name)
        curve = self._ledger.counts.get(plan.meaningful) if plan else None
        if curve is not None:
            curve.line.forget_before(point.at_seconds - (WIDEST_WINDOWS + 1) * self.plan.window_seconds)

    def of_window(self, name: str, window: WindowSums, trusted: Mapping[str, Tally]) -> PerResponse | None:
        """Cost and energy per meaningful response of a server; None where no entry asks for them.

        `trusted`: the tallies of the window that cover enough of it.
        """
        if name not in self._plans:
            return None
        return self.per_response(Measured(name, window, {key: summed(tally) for key, tally in trusted.items()}))

    def per_response(self, measured: Measured) -> PerResponse | None:
        """Cost and energy per meaningful response of a server; None where no entry asks for them."""
        response = self._plans.get(measured.name)
        if response is None:
            return None
        each = self._output_tokens(measured)
        attempts = self._attempts(measured, response)
        meaningful = self._tokens_per_meaningful(measured, response, each, attempts)
        support = self._support(measured, response)
        paid = measured.sums.get(COST)
        cost = _cost(paid, meaningful, attempts, support.dollars) if paid else None
        joules: dict[Given, Joules] = {}
        for boundary in Given:
            given = measured.sums.get(boundary)
            more = support.joules.get(boundary) if response.support else Joules(0)
            total = _energy(given, meaningful, attempts, more) if given else None
            if total is not None:
                joules[boundary] = total
        terms = ResponseTerms(each, attempts, support.tokens, support.dollars, support.joules)
        return PerResponse(cost, joules, terms)

    # The server itself

    def _output_tokens(self, measured: Measured) -> Tokens | None:
        """Et: generated tokens per finished response."""
        sums = measured.sums.get(TOKENS)
        return _per(sums.output_tokens, sums.responses) if sums else None

    def _attempts(self, measured: Measured, response: ResponsePlan) -> float | None:
        """A: finished responses per meaningful response."""
        if not response.meaningful:
            return response.attempts
        end = self._end(measured, response.meaningful)
        finished = self._finished(measured.name, measured.window.start_seconds, end)
        return _per(finished, self._meaningful(response, measured.window.start_seconds, end))

    def _tokens_per_meaningful(
        self, measured: Measured, response: ResponsePlan, each: Tokens | None, attempts: float | None
    ) -> Tokens | None:
        """Et * A. Where the server counts no finished responses, the application's counter alone tells it."""
        if each is not None and attempts is not None:
            return each * attempts
        sums = measured.sums.get(TOKENS)
        if not response.meaningful or sums is None or sums.responses is not None or not measured.window.tokens_known:
            return None
        start, end = measured.window.start_seconds, self._end(measured, response.meaningful)
        made = self._covered(measured.name, start, end).get(TOKENS)
        return _per(made.output_tokens if made else None, self._meaningful(response, start, end))

    def _end(self, measured: Measured, source: str) -> float | None:
        """End of what an application's counter can tell of the window; None where it is not read any more."""
        curve = self._ledger.counts.get(source)
        return self._late_end(measured, curve.line.end_seconds if curve else None)

    def _late_end(self, measured: Measured, known_until_seconds: float | None) -> float | None:
        end = measured.window.end_seconds
        if known_until_seconds is None or end - known_until_seconds > LATE_TICKS * self.plan.tick_seconds:
            return None
        return min(end, known_until_seconds)

    def _meaningful(self, response: ResponsePlan, start_seconds: float, end_seconds: float | None) -> float | None:
        curve = self._ledger.counts.get(response.meaningful)
        return curve.between(start_seconds, end_seconds) if curve and end_seconds is not None else None

    def _finished(self, name: str, start_seconds: float, end_seconds: float | None) -> float | None:
        tokens = self._covered(name, start_seconds, end_seconds).get(TOKENS)
        return tokens.responses if tokens else None

    def _covered(self, name: str, start_seconds: float, end_seconds: float | None) -> Mapping[str, Sums]:
        """Sums of any involved server over a stretch: of what was measured in enough of it."""
        history = self._histories.get(name)
        if history is None or end_seconds is None or end_seconds <= start_seconds:
            return {}
        enough = self.plan.min_coverage * (end_seconds - start_seconds)
        sums = history.between(start_seconds, end_seconds)
        return {key: part for key, part in sums.items() if part.seconds >= enough}

    # Those that support it

    def _support(self, measured: Measured, response: ResponsePlan) -> _Support:
        parts = [self._part(measured, response, helper) for helper in response.support]
        tokens: Tokens | None = response.support_tokens
        dollars: Dollars | None = response.support_tokens * response.support_dollars_per_token
        for part in parts:
            tokens = _plus(tokens, part.tokens)
            dollars = _plus(dollars, part.dollars)
        joules = {
            boundary: sum((part.joules[boundary] for part in parts), Joules(0))
            for boundary in Given
            if parts and all(boundary in part.joules for part in parts)
        }
        return _Support(tokens, dollars, joules)

    def _part(self, measured: Measured, response: ResponsePlan, helper: str) -> _Support:
        """Return what one support server takes for a meaningful response; of several servers each has its share.

        A support server works for finished responses, so it is shared out by them.
        """
        history = self._histories.get(helper)
        ends = [history.end_seconds if history else None]
        served = self._served.get(helper, ())
        if len(served) > 1:
            ends += [self._histories[name].end_seconds for name in served]
        if response.meaningful:
            curve = self._ledger.counts.get(response.meaningful)
            ends.append(curve.line.end_seconds if curve else None)
        known = [end for end in ends if end is not None]
        end = self._late_end(measured, min(known)) if len(known) == len(ends) else None
        start = measured.window.start_seconds
        per = self._responses_served(measured, response, served, start, end)
        work = self._covered(helper, start, end)
        cost, tokens = work.get(COST), work.get(TOKENS)
        return _Support(
            _per(_processed(tokens) if tokens else None, per),
            _per(cost.dollars if cost else None, per),
            {
                boundary: joules
                for boundary in Given
                if boundary in work and (joules := _per(work[boundary].joules, per))
            },
        )

    def _responses_served(
        self, measured: Measured, response: ResponsePlan, served: tuple[str, ...], start: float, end: float | None
    ) -> float | None:
        """Meaningful responses that a support server's work is divided by, at this server's rate of attempts."""
        if len(served) == 1 and response.meaningful:
            return self._meaningful(response, start, end)
        counts = [self._finished(name, start, end) for name in served]
        finished = [count for count in counts if count is not None]
        if len(finished) < len(counts):
            return None
        if not response.meaningful:
            return sum(finished) / response.attempts
        attempts = _per(self._finished(measured.name, start, end), self._meaningful(response, start, end))
        return _per(sum(finished), attempts)


@dataclass(frozen=True, slots=True)
class _Support:
    """Pre- and post-processing of one meaningful response. None: not known."""

    tokens: Tokens | None
    dollars: Dollars | None
    joules: Mapping[Given, Joules]


def _cost(sums: Sums, tokens: Tokens | None, attempts: float | None, support: Dollars | None) -> Dollars | None:
    """Et * A * Ct + Pt * Cp, where `tokens` is Et * A; no dollars at all is absence."""
    if sums.dollars <= 0 or support is None:
        return None
    if not sums.output_tokens:
        return _plus(_without_tokens(sums.dollars, sums, attempts), support)
    if tokens is None:
        return None
    return equations.response_cost(tokens, sums.dollars / sums.output_tokens, support)


def _energy(sums: Sums, tokens: Tokens | None, attempts: float | None, support: Joules | None) -> Joules | None:
    """Return the same of joules."""
    if sums.joules <= 0 or support is None:
        return None
    if not sums.output_tokens:
        return _plus(_without_tokens(sums.joules, sums, attempts), support)
    if tokens is None:
        return None
    return equations.response_energy(tokens, sums.joules / sums.output_tokens, support)


def _without_tokens(amount: Amount, sums: Sums, attempts: float | None) -> Amount | None:
    """Part of a server that generates nothing, such as one for embeddings."""
    each = _per(amount, sums.responses)
    return None if each is None or attempts is None else each * attempts


def _processed(sums: Sums) -> Tokens | None:
    """Computed input and generated tokens. A server for embeddings generates none and may not count them."""
    return None if sums.input_tokens is None else sums.input_tokens + (sums.output_tokens or Tokens(0))


def _per(amount: Amount | None, count: float | None) -> Amount | None:
    return None if amount is None or not count else amount / count


def _plus(one: Amount | None, other: Amount | None) -> Amount | None:
    return None if one is None or other is None else one + other
