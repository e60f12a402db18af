"""Account 1, time: how long decode steps take and what a prompt token adds. Pure.

On ticks that are busy from edge to edge, seconds = decode's own time + the time that prefill adds. Prompt counters jump
when a prefill ends, so prompts are moved back to the ticks whose time they took.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, sqrt
from statistics import median
from typing import Final

from tokwatt.economics.phases.linear import Sums, non_negative
from tokwatt.economics.phases.work import Decode, Work

FEWEST_TICKS: Final = 15
DEEP_TICKS: Final = 40
MOSTLY_BUSY: Final = 0.5
FULLEST: Final = 20  # one tick in so many
FEWEST_CLEAN_TICKS: Final = 5
BLOCK: Final = 10  # ticks
FIRST_GUESS: Final = 0.3  # part of a tick that prefill is taken to have used, until the energy account says more
ROUNDS: Final = 3
MERGED: Final = 4.0  # ticks are taken together over so many times the length of a prefill
SLACK: Final = 0.05  # without it prompts drift ever further back, as a queue grows at a load of 1
JITTER: Final = 0.01  # of a group's seconds that no counter explains
EDGE: Final = 0.5
MOST_AT_EDGE: Final = 0.2  # of a tick's seconds, where a prefill fills several ticks
OUTLIER: Final = 4.0  # median absolute deviations; such a group hides time without work


Row = tuple[list[float], float]
Pair = tuple[Work, Work | None]  # a tick and the one that follows
Counted = list[list[tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class TimeModel:
    """Seconds per step, decode token, context token x step, draft token; per prompt token and per prompt."""

    decode: Decode
    per_prompt_token: float
    per_prompt: float
    live_prompts: bool = False  # the prompt counter moves chunk by chunk, not at the end of a prefill
    moved: bool = True  # False: prompts stay where they were counted
    sure: bool = True  # fitted on ticks that hide no time without work
    counted: bool = False  # the engine counts the seconds of each phase itself
    doubt: float = 0.0  # part of prefill's seconds on which ticks taken together and ticks one by one disagree

    def decode_seconds(self, work: Work) -> float:
        """Decode's own seconds in a tick."""
        if self.counted:
            return work.tick.decode_seconds or 0.0
        per, did = self.decode, work.decode  # written out: a fit asks ten thousand times
        return per[0] * did[0] + per[1] * did[1] + per[2] * did[2] + per[3] * did[3] + per[4] * did[4]

    def prefill_seconds(self, work: Work) -> float:
        """Seconds that the tick's prompts added, where its prompts were moved to."""
        if self.counted:
            return work.tick.prefill_seconds or 0.0
        return self.per_prompt_token * work.prompt_tokens + self.per_prompt * work.first_tokens

    def edge_variance(self, work: Work, moved_share: float) -> float:
        """Variance of the prefill seconds that are on the wrong side of a tick's front edge."""
        added = self.prefill_seconds(work)
        seconds = work.tick.seconds
        longest = min(seconds, added)
        if self.live_prompts:
            return longest**3 / (6 * seconds)
        return EDGE * min(moved_share * added, MOST_AT_EDGE * seconds) * longest

    def share_to_move(self, work: Work) -> float:
        """Part of a tick's prompts whose work lies in the tick before it."""
        added = self.prefill_seconds(work)
        if added <= 0 or self.counted or not self.moved:
            return 0.0
        seconds = work.tick.seconds
        room = max(0.0, seconds * (1 + SLACK) - self.decode_seconds(work))
        if added > room:
            return 1 - room / added
        if self.live_prompts:
            return 0.0
        # a prompt that ended in this tick began, on average, half its length before its end's usual place
        own = min(1.0, ((work.tick.prompt_tokens or 0.0) + work.recomputed_tokens) / max(1.0, work.prompt_tokens))
        return own * min(1.0, added / max(1.0, work.first_tokens) / (2 * seconds))


COUNTED: Final = TimeModel((0.0, 0.0, 0.0, 0.0, 0.0), 0.0, 0.0, live_prompts=True, counted=True)


def move_back(run: Sequence[Work], model: TimeModel) -> None:
    """Move prompts to where they ran, from the newest tick to the oldest of a stretch without gaps."""
    for at in range(len(run) - 1, 0, -1):
        late, early = run[at], run[at - 1]
        share = model.share_to_move(late)
        late.edge_variance = model.edge_variance(late, share)
        if share <= 0 or early.none:
            continue
        tokens, firsts = share * late.prompt_tokens, share * late.first_tokens
        late.prompt_tokens -= tokens
        late.first_tokens -= firsts
        early.prompt_tokens += tokens
        early.first_tokens += firsts


def _row(part: Sequence[Work]) -> Row:
    """Seconds of neighbouring ticks and what they went to."""
    columns = zip(*([*work.decode, work.prompt_tokens, work.first_tokens] for work in part), strict=True)
    return [sum(column) for column in columns], sum(work.tick.seconds for work in part)


def _weighted(part: Sequence[Pair], model: TimeModel) -> Row:
    """The same, weighted by how well it is known which prompts ran in these ticks."""
    works, after = [work for work, _ in part], part[-1][1]
    row, seconds = _row(works)
    step = sum(model.decode_seconds(work) for work in works) / max(1.0, row[0])
    variance = (JITTER * seconds) ** 2 + step * step / 3 + works[0].edge_variance
    variance += after.edge_variance if after is not None else works[-1].tick.seconds ** 2
    weight = JITTER * seconds / sqrt(variance)
    return [weight * value for value in row], weight * seconds


def _merged(busy: Sequence[Pair], model: TimeModel) -> list[list[Pair]]:
    """Neighbouring ticks taken together, as many as make a prefill short beside them.

    A prefill of several ticks can't be placed to the second: tick by tick its tokens would be found where its time was
    not, and both prefill's pace and decode's would come out wrong.
    """
    seconds = sum(work.tick.seconds for work, _ in busy) / len(busy)
    prefill = sum(model.prefill_seconds(work) for work, _ in busy) / max(1.0, sum(w.first_tokens for w, _ in busy))
    size = max(1, min(ceil(MERGED * prefill / seconds), len(busy) // FEWEST_TICKS))
    parts: list[list[Pair]] = []
    for pair in busy:
        if parts and len(parts[-1]) < size and parts[-1][-1][1] is pair[0]:
            parts[-1].append(pair)
        else:
            parts.append([pair])
    return parts


def _solve(rows: list[Row]) -> list[float]:
    """Coefficients, without the groups that hide time without work."""
    sums = Sums.of(rows, 7)
    found = non_negative(sums.xx, sums.xy)
    left = [y - sum(a * b for a, b in zip(x, found, strict=True)) for x, y in rows]
    middle = median(left)
    spread = max(median([abs(value - middle) for value in left]), JITTER * median([y for _, y in rows]))
    kept = [row for row, value in zip(rows, left, strict=True) if abs(value - middle) <= OUTLIER * spread + 1e-9]
    if FEWEST_TICKS <= len(kept) < len(rows):
        sums = Sums.of(kept, 7)
        found = non_negative(sums.xx, sums.xy)
    limit = 4 * _decode_step_seconds(rows, found)
    if found[6] > limit:  # more than a prompt's own step could cost: it stands in for something else
        found = [*non_negative([line[:6] for line in sums.xx[:6]], sums.xy[:6]), 0.0]
    return found


def _decode_step_seconds(rows: list[Row], found: list[float]) -> float:
    steps = sum(x[0] for x, _ in rows)
    return sum(found[i] * x[i] for x, _ in rows for i in range(5)) / steps if steps else 0.0


def _busy(pairs: Sequence[Pair]) -> list[Pair]:
    """Ticks that are busy from edge to edge; none where many with work are not, for then these hide idle time too."""
    deep = [pair for pair in pairs if pair[0].deep]
    if len(deep) >= DEEP_TICKS:
        return deep
    busy = [pair for pair in pairs if pair[0].surely_busy]
    return busy if len(busy) >= MOSTLY_BUSY * sum(not work.none for work, _ in pairs) else []


def _blocks(busy: Sequence[Pair]) -> list[Row]:
    """First look: ticks taken together, so that it hardly matters in which of them a prompt was counted."""
    size = max(1, min(BLOCK, len(busy) // FEWEST_TICKS))
    works = [work for work, _ in busy]
    return [_row(works[at : at + size]) for at in range(0, len(works) - size + 1, size)]


def place(runs: Sequence[list[Work]], counted: Counted, model: TimeModel) -> None:
    """Move all prompts from where they were counted to where they ran."""
    for run, old in zip(runs, counted, strict=True):
        for work, prompts in zip(run, old, strict=True):
            work.restore(prompts)
        move_back(run, model)


def counted_prompts(runs: Sequence[list[Work]]) -> Counted:
    """Prompt tokens and prompts of each tick as they were counted."""
    return [[(work.prompt_tokens, work.first_tokens) for work in run] for run in runs]


def fit_time(
    runs: Sequence[list[Work]], counted: Counted, *, live_prompts: bool, moved: bool = True
) -> TimeModel | None:
    """Fit the time model, and leave the prompts of `runs` moved to where they ran. None: too little to fit."""
    pairs = [(run[at], run[at + 1] if at + 1 < len(run) else None) for run in runs for at in range(len(run))]
    busy = _busy(pairs)
    if len(busy) < FEWEST_TICKS:
        return _sparse(pairs, runs, counted, live_prompts=live_prompts)
    model = first = None
    for _ in range(ROUNDS + 1):
        found = _solve([_weighted(part, model) for part in _merged(busy, model)] if model else _blocks(busy))
        model = TimeModel((found[0], found[1], found[2], found[3], found[4]), found[5], found[6], live_prompts, moved)
        if not any(model.decode) or not (model.per_prompt_token or model.per_prompt):
            return None
        place(runs, counted, model)
        first = first or model
    return _doubted(busy, first, model) if first and model else None


def _doubted(busy: Sequence[Pair], first: TimeModel, last: TimeModel) -> TimeModel:
    """The last model, with how far it is from the first look."""
    ways = [sum(model.prefill_seconds(work) for work, _ in busy) for model in (first, last)]
    return replace(last, doubt=(max(ways) - min(ways)) / max(*ways, 1e-9))


def misfit(runs: Sequence[list[Work]], model: TimeModel, least_seconds: float) -> float:
    """Root of the part of squared seconds that the model leaves unexplained, over busy ticks of so many seconds."""
    left = whole = 0.0
    for run in runs:
        seconds = given = 0.0
        for work in run:
            if not work.surely_busy:
                seconds = given = 0.0
                continue
            seconds += work.tick.seconds
            given += model.decode_seconds(work) + model.prefill_seconds(work)
            if seconds >= least_seconds:
                left += (seconds - given) ** 2
                whole += seconds * seconds
                seconds = given = 0.0
    return sqrt(left / whole) if whole else 0.0


def _sparse(
    pairs: Sequence[Pair], runs: Sequence[list[Work]], counted: Counted, *, live_prompts: bool
) -> TimeModel | None:
    """Where ticks may hide time without work: decode from ticks without prompts; prefill's time only about.

    The energy account then says how long prefill took: as if it drew decode's power.
    """
    clean = [
        _row([work])
        for work, after in pairs
        if work.surely_busy and work.steps and not work.prompt_tokens and after is not None and not after.prompt_tokens
    ]
    if len(clean) >= FEWEST_CLEAN_TICKS:
        sums = Sums.of(clean, 5)
        found = non_negative(sums.xx, sums.xy)
    else:  # requests shorter than a tick: the fullest ticks have hardly any room for idle time
        paces = sorted(work.tick.seconds / work.steps for work, _ in pairs if work.steps >= 1)
        if len(paces) < FEWEST_TICKS:
            return None
        found = [paces[len(paces) // FULLEST], 0.0, 0.0, 0.0, 0.0]
    decode = TimeModel((found[0], found[1], found[2], found[3], found[4]), 0.0, 0.0)
    prompted = [work for work, _ in pairs if work.prompt_tokens > 0]
    left = sum(max(0.0, work.tick.seconds - decode.decode_seconds(work)) for work in prompted)
    tokens = sum(work.prompt_tokens for work in prompted)
    if not any(found) or left <= 0:
        return None
    model = TimeModel(decode.decode, FIRST_GUESS * left / tokens, 0.0, live_prompts, sure=False)
    place(runs, counted, model)
    return model
