"""Both accounts together: from a history of ticks to the numbers that split the next ones. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, sqrt
from statistics import fmean
from typing import Final

from tokwatt.economics.phases.energy_account import Posterior, Setting, fit_energy
from tokwatt.economics.phases.groups import groups, spread
from tokwatt.economics.phases.time_account import COUNTED, TimeModel, counted_prompts, fit_time, misfit, place
from tokwatt.economics.phases.work import Work

UNSURE_ROUNDS: Final = 3
USUAL_CHUNK: Final = 4096  # prompt tokens of a step, where the configuration doesn't say
BASE: Final = 0.006  # of the interval; these, down to WHOLE, were set on simulated machines (docs/phases.md)
BASE_SPREAD: Final = 0.035
SHARED_UNKNOWN: Final = 0.9  # of the energy that mixed steps share
STEP_UNKNOWN: Final = 0.1  # where a step with prefill is as long as a tick
PACE_UNKNOWN: Final = 12.0  # times the square of what the time account leaves unexplained
DOUBT: Final = 1.2  # of the disagreement between ticks taken together and ticks one by one
WHOLE: Final = 0.58
ENOUGH_FITS: Final = 3
FEW_FITS: Final = 1.25  # while the longer groups are too few to fit
IDLE_SHARE: Final = 0.12  # of the power limit, or of the highest power seen, while no idle second was seen


@dataclass(frozen=True, slots=True)
class Terms:
    """Parts of the method; each can be left out to see what it earns (docs/phases.md)."""

    sizes: tuple[float, ...] = (4.5, 11.5, 29.5)  # least seconds of a group; each size is a fit of its own
    moved: bool = True  # prompts go back to the ticks in which they ran
    bounded: bool = True  # steps with prefill draw at least usual power
    left_over: bool = True  # prefill's seconds may also be what decoding leaves over
    guided: bool = True  # decode's parts are held near what its batch suggests
    shapley: bool = True  # off: prefill is given only what it adds (guest)


@dataclass(frozen=True, slots=True)
class Engine:
    """What is known of an engine beforehand."""

    mixes: bool = True  # prompts and decoding share a step
    live_prompts: bool = False  # the prompt counter moves while a prefill runs
    chunk: float = USUAL_CHUNK
    limit_watts: float | None = None
    counted: bool = False  # it counts the seconds of each phase: Tick.prefill_seconds and decode_seconds
    unknown: float = 0.0  # part of the interval, of share x (1 - share): what its counters don't say of decoding


@dataclass(frozen=True, slots=True)
class Model:
    """Splits ticks. `watts` per second that prefill adds, `shared_joules` of a prompt: its half of shared steps."""

    time: TimeModel
    watts: float
    shared_joules: float
    share: float  # of busy energy, over the whole history
    low: float  # of the 90 % interval
    high: float
    shared_share: float  # prefill's half of shared steps, of busy energy
    step_ticks: float  # length of a step with prefill, in ticks
    residual: float
    prompts: float
    recomputed: float  # share of prompt tokens
    fits: int
    unknown: float  # of the engine
    time_misfit: float  # root of the part of squared seconds that the time account leaves unexplained


def busy_seconds(work: Work, time: TimeModel | None) -> float:
    """Seconds of a tick in which requests ran."""
    seconds = work.tick.seconds
    if work.none:
        return 0.0
    if work.surely_busy or time is None:
        return seconds
    return min(seconds, time.decode_seconds(work) + time.prefill_seconds(work))


def idle_watts(history: Sequence[Work | None], limit_watts: float | None) -> float:
    """Power without work: mean of idle ticks, the first after work left out; else a usual part of the highest."""
    found, highest = [], 0.0
    before: Work | None = None
    for work in history:
        if work is not None and work.tick.joules is not None and work.tick.seconds > 0:
            watts = work.tick.joules / work.tick.seconds
            highest = max(highest, watts)
            if work.none and before is not None and before.none:
                found.append(watts)
        before = work
    if found:
        return fmean(found)
    return IDLE_SHARE * (limit_watts or highest)


def fit_model(runs: Sequence[list[Work]], idle: float, engine: Engine, terms: Terms) -> Model | None:
    """Fit both accounts. The prompts of `runs` are left moved to where they ran. None: no fit sets up."""
    counted = counted_prompts(runs)
    time = COUNTED if engine.counted else fit_time(runs, counted, live_prompts=engine.live_prompts, moved=terms.moved)
    shares: list[float] = []
    for _ in range(1 if time is None or time.sure else UNSURE_ROUNDS):
        found = _fit(runs, time, idle, engine, terms) if time is not None else None
        if time is None or found is None or found.time.sure:
            return found
        shares.append(found.share)
        time = found.time
        place(runs, counted, time)
    # where prefill's time is only about known, the answer must not hang on it
    return replace(found, low=min(found.low, *shares), high=max(found.high, *shares)) if found else None


def _fit(runs: Sequence[list[Work]], time: TimeModel, idle: float, engine: Engine, terms: Terms) -> Model | None:
    metered = [[work for work in run if work.tick.joules is not None] for run in runs]
    every = [work for run in metered for work in run if not work.none]
    added = sum(time.prefill_seconds(work) for work in every)
    steps, firsts = sum(work.steps for work in every), sum(work.first_tokens for work in every)
    if added <= 0 or steps <= 0 or firsts <= 0:
        return None
    mixed = mixed_steps(every, time, engine) if engine.mixes and terms.shapley else 0.0
    spread(metered, time, idle, terms.sizes[0], left_over=terms.left_over)
    setting = _setting(every, time, idle, engine, terms, mixed)
    made = [fit_energy(groups(metered, idle, size), setting) for size in terms.sizes]
    fits = [fit for fit in made if fit is not None]
    real = fmean([fit.mean(fit.added_seconds) for fit in fits]) / added if fits else 0.0
    if real <= 0:
        return None
    time = replace(time, per_prompt_token=time.per_prompt_token * real, per_prompt=time.per_prompt * real)
    busy = sum(_busy_joules(work, time, idle) for work in every)
    share, low, high = _pooled(fits)
    omega = fmean([fit.mean(fit.shared_joules) for fit in fits])
    tokens = sum(work.prompt_tokens for work in every)
    return Model(
        time=time,
        watts=max(0.0, share * busy - omega / 2) / (added * real),
        shared_joules=min(omega / 2, share * busy) / firsts,
        share=share,
        low=low,
        high=high,
        shared_share=omega / 2 / busy if busy > 0 else 0.0,
        step_ticks=_step_ticks(every, time, tokens / firsts, engine),
        residual=fmean([fit.relative_residual for fit in fits]),
        prompts=firsts,
        recomputed=sum(work.recomputed_tokens for work in every) / max(1.0, tokens),
        fits=len(fits),
        unknown=engine.unknown,
        time_misfit=0.0 if time.counted else misfit(metered, time, terms.sizes[0]),
    )


def _step_ticks(every: Sequence[Work], time: TimeModel, prompt_tokens: float, engine: Engine) -> float:
    tick = sum(work.tick.seconds for work in every) / len(every)
    return time.per_prompt_token * min(engine.chunk, prompt_tokens) / tick


def mixed_steps(every: Sequence[Work], time: TimeModel, engine: Engine) -> float:
    """Steps that held both prompt tokens and decoding sequences, about."""
    total = 0.0
    for work in every:
        if work.steps <= 0 or work.first_tokens <= 0:
            continue
        ending = work.steps * (1 - exp(-work.first_tokens / work.steps))  # prompts that end in one step count once
        found = ending + max(0.0, work.prompt_tokens / engine.chunk - ending / 2)
        seconds = work.tick.seconds
        decoding = 1.0 if work.surely_busy else min(1.0, time.decode_seconds(work) / seconds)
        total += min(work.steps, found) * decoding
    return total


def _busy_joules(work: Work, time: TimeModel, idle: float) -> float:
    joules = work.tick.joules or 0.0
    return max(0.0, joules - idle * (work.tick.seconds - busy_seconds(work, time)))


def _setting(
    every: Sequence[Work], time: TimeModel, idle: float, engine: Engine, terms: Terms, mixed: float
) -> Setting:
    powers = []
    for at in range(len(every) - 2):
        three = every[at : at + 3]
        if all(work.surely_busy for work in three):
            powers.append(sum(w.tick.joules or 0 for w in three) / sum(w.tick.seconds for w in three))
    powers.sort()
    steps = sum(work.steps for work in every)
    busy = [w for w in every if w.surely_busy] or list(every)
    mean = sum(w.tick.joules or 0 for w in busy) / sum(w.tick.seconds for w in busy)
    return Setting(
        added_seconds=sum(work.added_seconds for work in every),
        decode_seconds=sum(time.decode_seconds(work) for work in every),
        step_seconds=time.decode[0] + time.decode[4] * sum(work.decode[4] for work in every) / steps,
        steps=steps,
        mixed_steps=mixed,
        idle_watts=idle,
        time_is_sure=time.sure,
        mean_watts=mean,
        high_watts=powers[int(0.95 * (len(powers) - 1))] if powers else mean,
        limit_watts=engine.limit_watts,
        bounded=terms.bounded,
        guided=terms.guided,
    )


def _pooled(fits: Sequence[Posterior]) -> tuple[float, float, float]:
    """Mean of the fits' medians; 5 % and 95 % quantiles of their posteriors taken together."""
    pooled = sorted(
        (share, weight / len(fits)) for fit in fits for share, weight in zip(fit.shares, fit.weights, strict=True)
    )
    middle = fmean([_quantile(sorted(zip(f.shares, f.weights, strict=True)), 0.5) for f in fits])
    return middle, min(middle, _quantile(pooled, 0.05)), max(middle, _quantile(pooled, 0.95))


def _quantile(sorted_points: Sequence[tuple[float, float]], part: float) -> float:
    """Quantile of weighted points, linear between the middles of their weights."""
    whole = 0.0
    last: tuple[float, float] | None = None
    for share, weight in sorted_points:
        at = whole + weight / 2
        if at >= part:
            if last is None or at <= last[1]:
                return share
            return last[0] + (share - last[0]) * (part - last[1]) / (at - last[1])
        last = (share, at)
        whole += weight
    return sorted_points[-1][0]


def half_width(model: Model, share: float) -> float:
    """Half of the 90 % interval around a share that the model gave, in shares of busy energy."""
    spread = share * (1 - share)
    parts = (
        max(model.high - model.share, model.share - model.low),
        BASE + BASE_SPREAD * spread,
        model.unknown * spread,
        0.5 * sqrt(spread) * model.residual,
        0.5 * sqrt(spread / max(1.0, model.prompts)),
        SHARED_UNKNOWN * model.shared_share,
        STEP_UNKNOWN * model.step_ticks**2,
        PACE_UNKNOWN * sqrt(spread) * model.time_misfit**2,
        DOUBT * spread * model.time.doubt,
    )
    whole = WHOLE if model.fits >= ENOUGH_FITS else FEW_FITS * WHOLE
    return whole * sqrt(sum(part * part for part in parts))
