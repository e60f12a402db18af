"""The dashboard files: current, well-formed for Grafana, and asking only for what the exporter has."""

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from support.dashboards import BOUNDARIES, FOLDER, NAMES, ROOT, filled, load, panels, targets

from tokwatt.metrics.catalogue import CATALOGUE

LABELS = {family.name: set(family.labels) for family in CATALOGUE}
# Set by Prometheus: on every series it scrapes, and on its own series of alerts.
TARGET_LABELS = {"job", "instance", "cluster", "namespace"}
ALERT_LABELS = {"alertname", "alertstate", "severity", "server", "source"}
BOTH = pytest.mark.parametrize("name", NAMES)
BOTH_FORMS = pytest.mark.parametrize(("name", "form"), list(itertools.product(NAMES, ("", "import"))))


def nodes(node: Any) -> Iterator[Any]:
    """A parsed expression and everything in it."""
    yield node
    inner = [getattr(node, name, None) for name in ("lhs", "rhs", "expr", "vector_selector")]
    for child in [*inner, *getattr(node, "args", [])]:
        if child is not None:
            yield from nodes(child)


def grouping(node: Any) -> set[str]:
    """Labels named in by, without, on, ignoring, group_left, group_right."""
    return set(re.findall(r"\w+", " ".join(re.findall(r"\(([^()]*)\)", str(getattr(node, "modifier", None) or "")))))


def test_files_are_current():
    done = subprocess.run(
        [sys.executable, FOLDER / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_uids_are_stable_and_unique():
    assert [load(name)["uid"] for name in NAMES] == ["tokwatt-overview", "tokwatt-server"]
    assert [load(name, "import")["uid"] for name in NAMES] == ["tokwatt-overview", "tokwatt-server"]


@BOTH
def test_panel_ids_are_unique(name):
    ids = [panel["id"] for panel in load(name)["panels"]]
    assert len(ids) == len(set(ids))
    assert min(ids) > 0


@BOTH
def test_panels_fill_the_grid_without_overlap(name):
    taken: dict[tuple[int, int], str] = {}
    for panel in load(name)["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        for cell in itertools.product(
            range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        ):
            assert cell not in taken, f"{panel['title']} lies on {taken.get(cell)}"
            taken[cell] = panel["title"]
    height = 1 + max(y for _, y in taken)
    assert len(taken) == 24 * height, "a hole between panels"


@BOTH
def test_every_panel_says_what_it_shows(name):
    for panel in panels(load(name)):
        description = panel["description"]
        assert "**Looks wrong?** " in description, panel["title"]
        assert len(description) > 60, panel["title"]
        if panel["type"] != "text":
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            assert "**Window:** " in description, panel["title"]
            assert panel["fieldConfig"]["defaults"]["noValue"], panel["title"]


@BOTH
def test_every_ratio_names_its_denominator_and_every_energy_its_boundary(name):
    for panel in panels(load(name)):
        exprs = " ".join(target["expr"] for target in panel.get("targets") or [])
        if panel["type"] in {"stat", "timeseries", "bargauge", "xychart"} and "energy_joules_total" in exprs:
            assert "**Boundary:** " in panel["description"], panel["title"]
        if panel["type"] in {"stat", "bargauge", "xychart"} and ("\n/\n" in exprs or "_per_joule" in exprs):
            assert "**Divided by:** " in panel["description"], panel["title"]


@BOTH
def test_every_target_has_its_own_ref_id(name):
    for panel in panels(load(name)):
        refs = [target["refId"] for target in panel.get("targets") or []]
        assert all(refs), panel["title"]
        assert len(refs) == len(set(refs)), panel["title"]
        assert refs or panel["type"] == "text", panel["title"]


@BOTH_FORMS
def test_the_data_source_is_never_fixed(name, form):
    dashboard = load(name, form)
    expected = "${DS_PROMETHEUS}" if form else "${datasource}"
    text = (FOLDER / form / f"{name}.json").read_text(encoding="utf-8")
    assert set(re.findall(r'"uid": "(\$[^"]*)"', text)) == {expected}
    for panel in panels(dashboard):
        for part in [panel, *(panel.get("targets") or [])]:
            assert part["datasource"] == {"type": "prometheus", "uid": expected}, panel["title"]
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert ("datasource" in variables) == (not form)
    for variable in variables.values():
        if variable["type"] == "query":
            assert variable["datasource"]["uid"] == expected


@BOTH
def test_the_import_form_asks_for_what_it_uses(name):
    dashboard = load(name, "import")
    assert [one["name"] for one in dashboard["__inputs"]] == ["DS_PROMETHEUS"]
    assert dashboard["__inputs"][0]["pluginId"] == "prometheus"
    required = {one["id"] for one in dashboard["__requires"] if one["type"] == "panel"}
    assert required == {panel["type"] for panel in panels(dashboard)}
    assert "${datasource" not in json.dumps(dashboard)


@BOTH
def test_absent_target_labels_are_no_obstacle(name):
    variables = {variable["name"]: variable for variable in load(name)["templating"]["list"]}
    assert list(variables) == ["datasource", "cluster", "namespace", "server", "model", "boundary"]
    for label in ("cluster", "namespace", "model"):
        assert variables[label]["allValue"] == ".*"
        assert variables[label]["current"]["value"] == "$__all"


@BOTH_FORMS
def test_json_goes_through_the_sdk_and_back(name, form):
    dashboard = load(name, form)
    known = {key: value for key, value in dashboard.items() if not key.startswith("__")}
    again = json.loads(json.dumps(Dashboard.from_json(known), cls=JSONEncoder))
    assert again == known


@BOTH
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_expressions_parse_and_name_only_what_the_exporter_has(name, boundary):
    for target in targets(load(name)):
        expr = filled(target.expr, boundary=boundary)
        where = f"{target.panel} {target.ref_id}: {expr}"
        assert "$" not in expr, where
        seen = list(nodes(promql_parser.parse(expr)))
        selectors = [node for node in seen if isinstance(node, promql_parser.VectorSelector)]
        assert selectors, where
        allowed = set(TARGET_LABELS)
        for selector in selectors:
            labels = ALERT_LABELS if selector.name == "ALERTS" else LABELS.get(selector.name)
            assert labels is not None, f"{selector.name} is no metric of the exporter; {where}"
            unknown = {matcher.name for matcher in selector.matchers.matchers} - labels - TARGET_LABELS
            assert not unknown, f"{selector.name} has no label {unknown}; {where}"
            allowed |= labels
        allowed |= {
            call.args[1].val for call in seen if getattr(getattr(call, "func", None), "name", "") == "label_replace"
        }
        named = set().union(*(grouping(node) for node in seen))
        assert named <= allowed, f"{named - allowed} on no metric of it; {where}"


@BOTH
def test_variable_queries_name_only_what_the_exporter_has(name):
    for variable in load(name)["templating"]["list"]:
        if variable["type"] != "query":
            continue
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
        assert found, variable["name"]
        selector = promql_parser.parse(filled(found[1]))
        used = {matcher.name for matcher in selector.matchers.matchers} | {found[2]}
        assert used <= LABELS[selector.name] | TARGET_LABELS, variable["name"]


@BOTH
def test_graphs_follow_the_chosen_step(name):
    """A fixed range hides points or leaves holes when people zoom: graphs use Grafana's rate interval."""
    for panel in panels(load(name)):
        for target in panel.get("targets") or []:
            assert not re.search(r"\[\d", target["expr"]), panel["title"]
            if panel["type"] in {"timeseries", "xychart"}:
                assert "$__range" not in target["expr"], panel["title"]


@BOTH
def test_nothing_averages_ratios_over_servers(name):
    for target in targets(load(name)):
        assert not re.search(r"\bavg\s*\(", target.expr), target.panel
        for by in re.findall(r"\bavg by \(([^)]*)\)", target.expr):
            assert by in {"model", "model, phase"}, f"{target.panel}: an average over {by}"


@BOTH
def test_no_legend_shows_the_mean_of_a_ratio(name):
    for panel in panels(load(name)):
        if panel["type"] == "timeseries" and any("\n/\n" in target["expr"] for target in panel["targets"]):
            assert "mean" not in panel["options"]["legend"]["calcs"], panel["title"]


@BOTH
def test_links_lead_to_the_other_dashboard(name):
    others = {f"/d/{other}" for other in NAMES if other != name}
    links = load(name)["links"]
    assert {link["url"] for link in links} == others
    assert all(link["includeVars"] and link["keepTime"] for link in links)


def test_check_says_what_is_not_current(tmp_path):
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "import dashboards.generate as g; g.HERE = Path(sys.argv[2]) / 'dashboards';"
        "g.HERE.mkdir(); old = g.files(); path = next(iter(old)); path.write_text('{}\\n');"
        "sys.argv[1:] = ['--check']; sys.exit(g.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(ROOT), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "-{}" in done.stdout
    assert "make dashboards" in done.stderr
