"""The pages docs/alerts.md and docs/recording-rules.md, written from the tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields

from deploy.prometheus.source.model import Group, Recording, Settings, duration

LEVEL = re.compile(r"^(server|model|namespace|cluster):")
_NOTE = "<!-- Written by `{command}` from deploy/prometheus/source. Change those tables, not this page. -->"
_ALERTS = """\
# Alerts

`deploy/prometheus/tokwatt-alerts.yml` holds these alerts. They need the recording rules of
`deploy/prometheus/tokwatt-recording.yml`. Both load in Prometheus 2.42 and later; `deploy/prometheus/prometheus.yml` is
a sample configuration.

Route by `severity` (`critical`: nothing is measured, act now; `warning`: act in working hours) and by `area`
(`measurement`, `efficiency`, `cost`). Labels of the scrape target (`cluster`, `namespace`, `job`, `instance`) are kept
where they are set; without `cluster` or `namespace` everything works, those labels are just absent.

Job name: `TokwattAbsent` and `TokwattDown` name the job, `tokwatt`, and both know exporters of any other job by what
they showed before. So with another job name all works while an exporter answers; if none does, both fire. These write
the rules for another name, or with `runbook_url` at your own copy of the runbooks:

```sh
{command} --job NAME --output DIRECTORY
{command} --runbook-base URL --output DIRECTORY
```
"""
_EFFICIENCY = """\
## How the efficiency regression is found

Tokens per joule depend on load: a server that is half empty spends almost the same watts on half the tokens. A
comparison with the last hour would therefore page every evening, and one with a fixed number would suit one model on
one machine. `TokwattEfficiencyRegression` compares a server with itself:

1. `server:tokwatt_output_tokens_per_joule:ratio_rate5m` is recorded all the time, for instants with enough coverage.
2. A server is judged by its GPUs' energy, or its host's where no GPU is metered:
   `server:tokwatt_judged_output_tokens_per_joule:ratio_rate5m`.
3. Each instant belongs to a cell of load and mix, `server:tokwatt_load_cell:info_rate5m`. Cells of load (output tokens
   per second) are {load_width:.0%} wide, cells of mix (input tokens per output token) {mix_width:.0%}: long prompts
   cost joules that answers do not show. There are four grids of cells, shifted by half a cell, so that a load on an
   edge is in the middle of another cell. Below {busy:g} output tokens per second there is no cell.
4. Every {sample}, `server:tokwatt_judged_output_tokens_per_joule:by_load` keeps the value together with its cells.
5. `server:tokwatt_judged_output_tokens_per_joule:median7d` is the median over {baseline_range} that end
   {baseline_delay} ago, for each cell with at least {samples:g} samples: the server's own efficiency curve.
6. `server:tokwatt_expected_output_tokens_per_joule:median7d` picks the cells of now, weighted by their samples, and
   `server:tokwatt_efficiency:ratio_rate5m` is live / expected. A new server, or a load never seen before, has no such
   cell: silent, not wrong.
7. Below {efficiency:g} for {efficiency_for} the alert fires.

Limits. There is no alert on a server's first day: the newest {baseline_delay} are left out, so that a regression does
not become its own standard. After that, and at the latest after about half of {baseline_range} of that load at a lower
level, the lower level is the expected one, and the alert ends by itself. A deliberate change (another model under the
same server name, another power limit) looks like a regression until then: rename the server, or silence the alert. A
load that leaves known cells interrupts the alert. Inside one cell, load and mix alone can explain up to about a fifth
of tokens per joule each; the threshold leaves room for one of them.
"""
_RECORDING = """\
# Recording rules

`deploy/prometheus/tokwatt-recording.yml` records what dashboards and alerts need, named `level:metric:operations`.
Names are API, like those of the exporter.

- Levels: `server` (labels `cluster`, `namespace`, `server`), `model` (`cluster`, `namespace`, `model`), `namespace`
  (`cluster`, `namespace`) and `cluster`. `cluster` and `namespace` come from the scrape configuration and may be
  absent. Replicas that share a server name are one server. `server_model` series are the parts that the levels sum.
- Windows: the end of the name, `5m` or `1h`.
- `boundary` (`gpu`, `host`, `facility`) contain one another: pick one, never sum over them.
- A ratio is a sum divided by a sum. Averages of these series over servers are wrong; take the next level instead.
- Tokens per joule hold only servers whose mean `tokwatt_window_coverage_ratio` over the window is at least
  {coverage:g}: in both sums or in neither, so a server whose meter is down cannot make its namespace look efficient.
- Cost ratios hold only tokens of servers that have a price. Dollars are capacity plus energy, as counted: energy that
  no meter measured costs nothing here, and energy that a lease covers is in its capacity price.
- Three bases: all cost (`cost_dollars`) reconciles to the bill; `busy_cost_dollars` leaves idle time out;
  `component="energy"` alone is what the hardware costs on top for working. Rates of `component="energy_credit"` are
  below 0: earned at negative electricity prices, so that a sum over components is the net.
- At level `model`, a server with several models at once counts for none: no measurement divides its energy.
- Zero tokens over energy is 0 tokens per joule. Inverses are absent then.
- `p90_load_7d`: at the load that a server reaches or exceeds in a tenth of a week's time, idle time included, not on
  average: what hardware, power feeds and cooling are bought for. Load is measured over slices of ten seconds; what is
  near the percentile is one level of `tokwatt_load_seconds_total`, a factor of about 1.5. Only time in which tokens and
  all of a server's energy were measured counts.
"""
_BUDGET = """\
## Budgets

`tokwatt:budget_dollars_per_million_output_tokens` without labels is the default, {budget:g} $ per million output
tokens. A rule file of your own sets the budget of one server under the same name:

```yaml
groups:
  - name: my-budgets
    rules:
      - record: tokwatt:budget_dollars_per_million_output_tokens
        expr: vector(4)
        labels: {{server: chat}}
```
"""


def alerts_page(groups: Iterable[Group], settings: Settings, command: str) -> str:
    """Write docs/alerts.md."""
    lines = [_NOTE.format(command=command), _ALERTS.format(command=command)]
    for group in groups:
        lines += [f"## {_title(group)}", "", "| alert | severity | area | for | fires when |", "|---|---|---|---|---|"]
        for alert in group.alerts():
            cells = (
                f"[{alert.name}](runbooks/{alert.name}.md)",
                alert.severity,
                alert.area,
                duration(alert.for_seconds),
                alert.meaning,
            )
            lines.append(_row(cells))
        lines.append("")
    lines.append(
        _EFFICIENCY.format(
            sample=duration(settings.short_seconds),
            baseline_range=duration(settings.baseline_range_seconds),
            baseline_delay=duration(settings.baseline_delay_seconds),
            load_width=2 ** (1 / settings.load_cells_per_octave) - 1,
            mix_width=2 ** (1 / settings.mix_cells_per_octave) - 1,
            busy=settings.busy_tokens_per_second,
            samples=settings.history_samples,
            efficiency=settings.efficiency_ratio,
            efficiency_for=duration(settings.efficiency_for_seconds),
        )
    )
    lines += ["## Thresholds", "", *_settings(settings)]
    return "\n".join(lines) + "\n"


def recording_page(groups: Iterable[Group], settings: Settings, command: str) -> str:
    """Write docs/recording-rules.md. Equal rules of several levels and windows share a row."""
    lines = [_NOTE.format(command=command), _RECORDING.format(coverage=settings.min_coverage_ratio)]
    rows: dict[tuple[str, str, str], list[str]] = {}
    for group in groups:
        for rule in group.recordings():
            rows.setdefault(_shared(rule), []).append(rule.record)
    lines += ["| series | levels | windows | unit | meaning |", "|---|---|---|---|---|"]
    for (name, unit, text), records in rows.items():
        levels = dict.fromkeys(f"`{record.split(':')[0]}`" for record in records)
        windows = dict.fromkeys(
            f"`{match[1]}`" for record in records if (match := re.search(r"(?:rate|min)(5m|1h)$", record))
        )
        lines.append(_row((f"`{name}`", ", ".join(levels), ", ".join(windows), unit, text)))
    lines += ["", _BUDGET.format(budget=settings.budget_dollars_per_million)]
    return "\n".join(lines)


def _shared(rule: Recording) -> tuple[str, str, str]:
    name = re.sub(r"(rate|min)(5m|1h)$", r"\1WINDOW", LEVEL.sub("LEVEL:", rule.record))
    return name, rule.unit, rule.help


def _title(group: Group) -> str:
    return group.name.removeprefix("tokwatt-").capitalize()


def _settings(settings: Settings) -> Iterator[str]:
    yield "| setting | value | meaning |"
    yield "|---|---|---|"
    for one in fields(settings):
        value = getattr(settings, one.name)
        shown = duration(value) if one.metadata["scales"] else f"{value:g}" if isinstance(value, float | int) else value
        yield _row((f"`{one.name}`", shown, one.metadata["meaning"]))


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
