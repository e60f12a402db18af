"""Writes the metrics reference, docs/metrics.md, from the catalogue.

Owns the prose on what holds for all metrics, and layout: names, types, labels, units and help come from the rows.
"""

from __future__ import annotations

from collections.abc import Iterator

from tokwatt.metrics.catalogue import CATALOGUE
from tokwatt.metrics.family import Family, Kind

_INTRO = """\
<!-- Written by `make docs` from tokwatt.metrics.catalogue. Change those rows, not this page. -->
# Metrics

Names, labels, units and meanings on this page are API. Every unit is a base unit and part of the name. To turn joules
into kWh, divide by 3.6e6; a price in dollars per joule times 3.6e6 is dollars per kWh. One joule is one watt-second, so
tokens per joule and tokens per watt-second are the same number.

## How to read them

**Counters first.** Tokens, joules and dollars are counters, and everything derived can be computed from them:
`rate()` of joules is watts. `docs/recording-rules.md` lists ready ratios over 5 minutes and an hour. The live gauges
are for readers without PromQL: the live page, an autoscaler, a bare `curl`.

**Totals begin at the first reading.** The first reading of any source counter is its baseline, so totals start at 0
there and never fall within one process. When an inference server restarts, what was counted stays and nothing is
counted twice. When tokwatt itself restarts, its totals start at 0 again, which `rate()` and `increase()` know how to
handle.

**Absent is not zero.** A value that is not known is an absent series: the engine does not offer it, a source is down,
no price is set. 0 is a measured zero. Zero tokens while energy flows is 0 tokens per joule; zero energy is absence.
A failed read is never 0 and never the last value again.

**Boundaries.** `gpu` is the boards alone, `host` the whole machine as its BMC measures it, GPUs included, `facility`
what its outlets measure, or the host times PUE where none are. They contain one another: pick one, never sum over
them. Each has a counter name of its own, so `sum()` over a counter is true. Energy given to servers plus unattributed
energy is the measured energy, always.
Only measurements count; rated power never stands in for one.

**Phases.** `phase` says where a server's energy and dollars went: `prefill`, `decode`, `idle` (no request in the
server) or `unsplit` (busy, and nothing measured tells prefill from decode). The phases of a server sum to what it was
given. `idle` and `unsplit` are always there; a split that cannot be measured is not invented.

**The live window.** All live gauges of a server cover the last `window_seconds` (60 unless configured), ended where
both its tokens and its energy are known, tokens and energy of a ratio over exactly the same instants. After a start
the window is as long as the time since. An engine that counts output only when a request finishes
(`output="at_finish"`) has a window that ends at a finish and may be wider: `tokwatt_window_seconds` is its true
length. `tokwatt_window_coverage_ratio` says which part of it was measured; below
`min_coverage` (0.9 unless configured) the gauges at that boundary are absent.

**Several models.** Energy of a server that serves several models at once belongs to no single one: it has
`model=""`, and so do the ratios. Tokens keep their model.

**Who runs it.** No series carries host, cluster or namespace: the scrape configuration adds them.

Beside these, `/metrics` shows `process_` and `python_` metrics of the exporter itself.
"""


def render_metrics_reference() -> str:
    """Write the whole page as Markdown."""
    return "\n".join([_INTRO, *_sections()]).rstrip("\n") + "\n"


def _sections() -> Iterator[str]:
    for title, kind in (("Counters", Kind.COUNTER), ("Gauges", Kind.GAUGE)):
        yield f"## {title}\n"
        yield "| name | labels | unit | meaning |"
        yield "|---|---|---|---|"
        yield from (_row(family) for family in CATALOGUE if family.kind is kind)
        yield ""


def _row(family: Family) -> str:
    labels = [f"`{label}`" for label in family.labels]
    if family.open_labels:
        labels.append("configured ones")
    cells = (f"`{family.name}`", ", ".join(labels), unit_of(family), family.help)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def unit_of(family: Family) -> str:
    """Say the unit in words; "" for a plain 0, 1 or constant 1."""
    stem = family.name.removeprefix("tokwatt_").removesuffix("_total")
    if "_per_" in stem:
        above, _, below = stem.partition("_per_")
        return f"{above.rsplit('_', 1)[-1]} per {below}"
    if stem.endswith("_timestamp_seconds"):
        return "seconds since 1970"
    if family.unit:
        return family.unit
    counted = stem.rsplit("_", 1)[-1]
    return counted if family.kind is Kind.COUNTER else ""
