"""The variables at the top of the dashboards. `cluster` and `namespace` may be absent from every series."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard as model

from dashboards.source.panels import SOURCE

SCOPE = 'cluster=~"$cluster", namespace=~"$namespace"'


def datasource() -> Any:
    """Return the choice of a Prometheus."""
    return build.DatasourceVariable("datasource").label("Data source").type("prometheus")


def labels_of(name: str, label: str, query: str, *, all_of: bool, description: str) -> Any:
    """Return a variable of a label's values. `all_of`: several or all may be chosen, also series without the label."""
    variable = (
        build.QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(SOURCE)
        .query({"query": query, "refId": f"variable-{name}"})
        .definition(query)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )
    if not all_of:
        return variable.multi(False).include_all(False)
    everything = model.VariableOption(selected=True, text="All", value="$__all")
    return variable.multi(True).include_all(True).all_value(".*").current(everything)


def variables(*, many_servers: bool) -> list[Any]:
    """Return the variables of a dashboard of many servers, or of one."""
    operator = "=~" if many_servers else "="
    return [
        datasource(),
        labels_of(
            "cluster",
            "Cluster",
            "label_values(tokwatt_server_info, cluster)",
            all_of=True,
            description="Target label of your Prometheus. All also shows what has no such label.",
        ),
        labels_of(
            "namespace",
            "Namespace",
            'label_values(tokwatt_server_info{cluster=~"$cluster"}, namespace)',
            all_of=True,
            description="Target label of your Prometheus. All also shows what has no such label.",
        ),
        labels_of(
            "server",
            "Server",
            f"label_values(tokwatt_server_info{{{SCOPE}}}, server)",
            all_of=many_servers,
            description="Inference server, as named in tokwatt's configuration.",
        ),
        labels_of(
            "model",
            "Model",
            f'label_values(tokwatt_output_tokens_total{{{SCOPE}, server{operator}"$server"}}, model)',
            all_of=True,
            description="Served model.",
        ),
        labels_of(
            "boundary",
            "Energy boundary",
            f'label_values(tokwatt_window_coverage_ratio{{{SCOPE}, server{operator}"$server"}}, boundary)',
            all_of=False,
            description="Whose energy is counted: facility = outlets or hosts x PUE, host = machines, gpu = boards. "
            "Only measured boundaries are offered; the first is the widest.",
        ),
    ]
