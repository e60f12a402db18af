"""PromQL of the panels: selectors made from the catalogue, and ratios of sums. Knows no panel.

A metric or label that the exporter does not have fails here, when the dashboards are generated.
"""

from __future__ import annotations

from dataclasses import dataclass

from tokwatt.metrics.catalogue import CATALOGUE

SPAN = "$__rate_interval"  # one point of a graph, or "now"
WHOLE = "$__range"  # the time range chosen in Grafana

# The boundary is part of the metric's name, so that sum() over a metric is true; the variable picks the name.
ENERGY = "tokwatt_server_${boundary}_energy_joules_total"
COST = "tokwatt_cost_dollars_total"
CREDIT = "tokwatt_energy_credit_dollars_total"
CARBON = "tokwatt_carbon_grams_total"
INPUT = "tokwatt_input_tokens_total"
CACHED = "tokwatt_cached_input_tokens_total"
OUTPUT = "tokwatt_output_tokens_total"

# One row of accounts: what tokens, energy and dollars are compared by. job and instance tell exporters apart.
ACCOUNT = ("cluster", "namespace", "job", "instance", "server", "model")
EXPORTER = "job, instance"

_LABELS = {family.name: family.labels for family in CATALOGUE}


@dataclass(frozen=True, slots=True)
class Metrics:
    """Selectors of one dashboard. `server_operator`: "=~" for a variable of many servers, "=" for one."""

    server_operator: str

    def labels(self, name: str) -> tuple[str, ...]:
        """Return the labels that the catalogue gives a metric."""
        return _LABELS[name.replace("${boundary}", "gpu")]

    def of(self, name: str, *, every: str = "", **fixed: str) -> str:
        """Select a metric by all variables that its labels allow, except the label `every`.

        `fixed` are exact; "!idle" is everything but idle.
        """
        known = self.labels(name)
        unknown = {*fixed, *filter(None, [every])} - set(known)
        if unknown:
            raise ValueError(f"{name} has no label {', '.join(sorted(unknown))}; it has {', '.join(known)}")
        variables = {
            "server": f'server{self.server_operator}"$server"',
            "model": 'model=~"$model"',
            "boundary": 'boundary="$boundary"',
        }
        matchers = ['cluster=~"$cluster"', 'namespace=~"$namespace"']
        matchers += [text for label, text in variables.items() if label in known and label not in {every, *fixed}]
        matchers += [
            f'{label}!="{value[1:]}"' if value.startswith("!") else f'{label}="{value}"'
            for label, value in fixed.items()
        ]
        return f"{name}{{{', '.join(matchers)}}}"

    def rate(self, name: str, span: str = SPAN, **fixed: str) -> str:
        """Return a counter's increase per second over a span."""
        return f"rate({self.of(name, **fixed)}[{span}])"

    def increase(self, name: str, span: str = WHOLE, **fixed: str) -> str:
        """Return a counter's increase over a span."""
        return f"increase({self.of(name, **fixed)}[{span}])"

    def dollars(self, of: str, span: str = SPAN, *, electricity: bool = False, **fixed: str) -> str:
        """Return dollars by component over a span, net: what negative electricity prices earned has its sign.

        `of`: "rate" or "increase". `electricity`: without capacity.
        """
        component = {"component": "energy"} if electricity else {}
        spent = f"{of}({self.of(COST, **component, **fixed)}[{span}])"
        earned = f"-{of}({self.of(CREDIT, **fixed)}[{span}])"
        return f'({spent} or label_replace({earned}, "component", "energy_credit", "", ""))'

    def here(self, expr: str) -> str:
        """Keep the series of the exporters that measure the chosen server: meters carry no server label."""
        return f"({expr} and on ({EXPORTER}) {self.of('tokwatt_server_info')})"


def total(expr: str, *by: str) -> str:
    """Sum, by labels."""
    return f"sum by ({', '.join(by)}) ({expr})" if by else f"sum({expr})"


def ratio(top: str, bottom: str, *by: str, times: str = "") -> str:
    """Ratio of sums over the accounts that have both: energy without tokens, or tokens without a meter, is left out.

    Absent where the denominator is zero. Never an average of ratios.
    """
    over, under = total(top, *ACCOUNT), total(bottom, *ACCOUNT)
    scale = f"{times} * " if times else ""
    return f"{scale}{total(f'{over} and {under}', *by)}\n/\n({total(f'{under} and {over}', *by)} > 0)"


def share(part: str, whole: str, *by: str) -> str:
    """Part of a whole of the same metric."""
    return f"{total(part, *by)}\n/\n({total(whole, *by)} > 0)"
