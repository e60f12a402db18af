"""The shipped rules name only what exists, keep our habits, and the files written from their tables are current."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from support.rules import ROOT, RULES, alerts, grouping_labels, recordings, selectors, write_rules

from deploy.prometheus.generate import main, shipped, stale
from deploy.prometheus.source.model import Alert, Recording, Settings, duration
from tokwatt.metrics.catalogue import CATALOGUE

TARGET_LABELS = {"cluster", "namespace", "job", "instance"}
METRIC_LABELS = {family.name: set(family.labels) for family in CATALOGUE}
RECORDED = {rule.record for rule in recordings()}
LABELS_OF_LEVEL = {
    "server_model": {"server", "model"},
    "server": {"server"},
    "model": {"model"},
    "namespace": set[str](),
    "cluster": set[str](),
    "tokwatt": {"server"},  # budgets, the user's own
}
# Labels that recorded series have beyond their level, or add to it.
DIMENSIONS = {"boundary", "component", "grid", "load", "load_le", "mix"}
RUNBOOKS = ROOT / "docs" / "runbooks"
HEADINGS = ["What it means", "Confirm", "Likely causes", "What to do", "When to silence"]
QUERY = re.compile(r"`([a-z_]+:tokwatt[a-z0-9_:]*|tokwatt:[a-z0-9_:]*|tokwatt_[a-z0-9_]*)")

each_recording = pytest.mark.parametrize("rule", recordings(), ids=lambda rule: rule.record)
each_alert = pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)


def known_labels(name: str) -> set[str] | None:
    """Labels a series of this name can have; None for a name that nothing makes."""
    if name == "up":
        return TARGET_LABELS
    if name in METRIC_LABELS:
        return METRIC_LABELS[name] | TARGET_LABELS
    if name in RECORDED:
        return LABELS_OF_LEVEL[name.split(":", maxsplit=1)[0]] | DIMENSIONS | {"cluster", "namespace"}
    return None


def wrong_names(expr: str) -> Iterator[str]:
    found: set[str] = {"server"} if "label_replace" in expr else set()
    for selector in selectors(expr):
        labels = known_labels(selector.name or "")
        if labels is None:
            yield f"{selector.name}: neither in the catalogue nor recorded"
            continue
        found |= labels
        yield from (
            f"{selector.name} has no {one.name}" for one in selector.matchers.matchers if one.name not in labels
        )
    yield from (f"nothing has {label}" for label in grouping_labels(expr) - found - {"load", "mix"})


@each_recording
def test_a_recording_names_only_what_exists(rule: Recording) -> None:
    assert list(wrong_names(rule.expr)) == []


@each_alert
def test_an_alert_names_only_what_exists(alert: Alert) -> None:
    assert list(wrong_names(alert.expr)) == []
    in_text = QUERY.findall(alert.description)
    assert [name for name in in_text if known_labels(name) is None] == []


def test_the_check_of_names_itself() -> None:
    assert list(
        wrong_names("sum by (pod) (rate(tokwatt_output_tokens_total{phase='idle'}[5m])) / on (server) nope")
    ) == [
        "nope: neither in the catalogue nor recorded",
        "tokwatt_output_tokens_total has no phase",
        "nothing has pod",
    ]


@each_recording
def test_a_recorded_name(rule: Recording) -> None:
    assert re.fullmatch(r"[a-z_]+:tokwatt[a-z_]*:[a-z0-9_]+|tokwatt:[a-z_]+", rule.record)
    assert rule.record.split(":")[0] in LABELS_OF_LEVEL
    assert rule.help.endswith(".")
    operation = rule.record.rsplit(":", 1)[-1]
    if "_per_" in rule.record and not rule.record.startswith("tokwatt:"):
        assert operation.startswith("ratio_rate") or operation in {"by_load", "median7d", "count7d", "p90_load_7d"}
    assert "avg by" not in rule.expr, "ratios are sums divided by sums"


def test_no_recording_twice() -> None:
    seen = [(rule.record, *sorted(rule.labels.items())) for rule in recordings()]
    assert len(set(seen)) == len(seen)


def test_recordings_stand_before_their_readers() -> None:
    """Inside a group, so that one evaluation is of one instant."""
    for path in RULES.glob("tokwatt-*.yml"):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            own = [rule.get("record") for rule in group["rules"]]
            for place, rule in enumerate(group["rules"]):
                later = {selector.name for selector in selectors(rule["expr"])} & set(own[place:])
                assert not later, f"{group['name']}: {rule} reads {later} of the evaluation before"


@each_alert
def test_an_alert_keeps_our_habits(alert: Alert) -> None:
    assert re.fullmatch(r"Tokwatt([A-Z][a-z]+)+", alert.name)
    assert alert.for_seconds >= 60
    assert alert.severity in {"warning", "critical"}
    assert alert.area in {"measurement", "efficiency", "cost"}
    assert not alert.summary.endswith(".")
    assert alert.description.endswith(".")
    assert alert.meaning.endswith(".")
    text = alert.summary + alert.description
    if "absent" not in alert.expr:
        assert "$value" in text or re.search(r"\d", text), "text says in numbers what is wrong"
    assert text.count("{{") == text.count("}}")


@each_alert
def test_an_alert_has_a_runbook(alert: Alert) -> None:
    page = (RUNBOOKS / f"{alert.name}.md").read_text(encoding="utf-8")
    url = alert.annotations(Settings().runbook_base)["runbook_url"]
    assert url.endswith(f"/docs/runbooks/{alert.name}.md")
    lines = page.splitlines()
    assert lines[0] == f"# {alert.name}"
    assert [line[3:] for line in lines if line.startswith("## ")] == HEADINGS
    for name in set(QUERY.findall(page)):
        assert known_labels(name) is not None, f"{name} does not exist"
    for block in re.findall(r"```promql\n(.*?)```", page, flags=re.DOTALL):
        for query in filter(None, (line.split(" # ")[0].strip() for line in block.splitlines())):
            assert list(wrong_names(query)) == [], query


def test_no_runbook_without_an_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {alert.name for alert in alerts()}


def test_every_alert_has_a_test_that_shows_it_quiet_firing_and_quiet_again() -> None:
    seen: dict[str, list[tuple[float, bool]]] = {}
    for path in (RULES / "tests").glob("alerts-*.yml"):
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            own: dict[str, list[tuple[float, bool]]] = {}
            for case in test["alert_rule_test"]:
                at = float(case["eval_time"].removesuffix("m"))
                own.setdefault(case["alertname"], []).append((at, bool(case["exp_alerts"])))
            for name, cases in own.items():
                if any(firing for _, firing in cases):
                    seen.setdefault(name, sorted(cases))
    for alert in alerts():
        states = [firing for _, firing in seen[alert.name]]
        changes = [later for earlier, later in pairwise(states) if earlier is not later]
        assert not states[0], alert.name
        assert changes == [True, False], alert.name


def test_generated_files_are_current() -> None:
    assert stale({ROOT / path: text for path, text in shipped().items()}) == "", (
        "run `python -m deploy.prometheus.generate`"
    )


def test_check_shows_what_is_not_current(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--output", str(tmp_path), "--job", "llm"]
    assert main(arguments) == 0
    assert main([*arguments, "--check"]) == 0
    assert main(["--output", str(tmp_path), "--check"]) == 1
    message = capsys.readouterr().err
    assert '-          absent(up{job="llm"})' in message
    assert '+          absent(up{job="tokwatt"})' in message


def test_shipped_files_have_no_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--scale", "60"]) == 2
    assert "--output" in capsys.readouterr().err


def test_generated_files_say_who_wrote_them() -> None:
    for path, text in shipped().items():
        assert "Written by `python -m deploy.prometheus.generate`" in text.splitlines()[0], path


def test_a_compressed_copy_changes_durations_only(tmp_path: Path) -> None:
    rules = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in write_rules(tmp_path, Settings().scaled(60))]
    shipped_rules = [yaml.safe_load((RULES / name).read_text(encoding="utf-8")) for name in ("tokwatt-recording.yml",)]
    names = [rule["record"] for group in rules[0]["groups"] for rule in group["rules"]]
    assert names == [rule["record"] for group in shipped_rules[0]["groups"] for rule in group["rules"]]
    assert "[5s]" in rules[0]["groups"][1]["rules"][0]["expr"]
    assert rules[1]["groups"][1]["rules"][0]["for"] == "5s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(300, "5m"), (3600, "1h"), (90, "90s"), (7 * 86400, "7d"), (0.5, "500ms"), (5400, "90m"), (129600, "36h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_duration_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 ms"):
        duration(0.0001)
