"""Names, labels and help texts of the catalogue keep the naming rules that a program can check."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tokwatt.metrics.catalogue import CATALOGUE
from tokwatt.metrics.family import Family, Kind
from tokwatt.metrics.reference import render_metrics_reference, unit_of

BASE_UNITS = {"joules", "watts", "seconds", "dollars", "grams", "ratio"}
# What else a name may end in: things that are counted, ratios of two nouns, and states that are 0 or 1.
COUNTED = {"tokens", "requests", "responses", "errors", "resets"}
STATES = {"up", "info", "successful", "series"}
NOT_BASE_UNITS = re.compile(
    r"(^|_)(kwh|wh|mj|kj|mw|kw|ms|us|minutes|hours|millis\w*|micro\w*|milli\w*|kilo\w*|mega\w*|percent|pct|usd|eur|cents"
    r"|joule|watt|second|dollar|token|1m|1k|million|j|w|s)(?=_|$)"
)
FORBIDDEN_LABELS = {"type", "zone", "region", "cluster", "namespace", "service", "env", "instance", "job", "currency"}
# Labels that name a person, a request or its text would have no end.
UNBOUNDED_LABELS = {"request", "request_id", "user", "user_id", "prompt", "session"}
SINGULAR_AFTER_PER = {"joule", "dollar", "second", "watt", "token", "response"}

each_family = pytest.mark.parametrize("family", CATALOGUE, ids=lambda family: family.name)


@each_family
def test_name(family: Family) -> None:
    assert re.fullmatch(r"tokwatt(_[a-z][a-z0-9]*)+", family.name), "one prefix, snake_case, no colon"
    assert not family.name.startswith(("tokwatt_process_", "tokwatt_scrape_"))
    assert family.name.endswith("_total") is (family.kind is Kind.COUNTER), "_total on counters, and on counters only"
    words = family.name.removeprefix("tokwatt_").removesuffix("_total").split("_")
    assert len(set(words)) == len(words), "no word twice"
    assert not {"gauge", "metric"} & set(words), "the type is not part of the name"
    if family.name != "tokwatt_counter_resets_total":  # the one that promtool objects to: ADR 4
        assert not {"counter", "histogram", "summary"} & set(words), "promtool check metrics refuses it"


@each_family
def test_unit(family: Family) -> None:
    stem = family.name.removeprefix("tokwatt_").removesuffix("_total")
    above, _, below = stem.partition("_per_")
    assert not NOT_BASE_UNITS.search(above), "base units, plural, no abbreviations"
    if below:
        assert family.kind is Kind.GAUGE
        assert above.rsplit("_", 1)[-1] in BASE_UNITS | COUNTED, "A_per_B: A is a plural noun"
        assert below in SINGULAR_AFTER_PER, "A_per_B: B is a base unit"
    else:
        allowed = BASE_UNITS | (COUNTED if family.kind is Kind.COUNTER else STATES)
        assert stem.rsplit("_", 1)[-1] in allowed
    if family.kind is Kind.COUNTER:
        assert not stem.endswith("_ratio"), "a ratio is not counted"


@each_family
def test_labels(family: Family) -> None:
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", label) for label in family.labels)
    assert len(set(family.labels)) == len(family.labels)
    assert not set(family.labels) & (FORBIDDEN_LABELS | UNBOUNDED_LABELS)
    assert family.open_labels <= family.name.endswith("_info"), "labels of the user only on an _info"


@each_family
def test_help(family: Family) -> None:
    assert family.help.endswith(".")
    assert family.help[0].isupper() or family.help[0] in "(1"
    assert "\n" not in family.help
    assert family.help.count("(") == family.help.count(")")
    if "_per_" in family.name and "_per_second" not in family.name and "dollars_per" not in family.name:
        assert "/" in family.help, "the help of a ratio states its formula"


def test_no_family_twice() -> None:
    assert [name for name, count in Counter(family.name for family in CATALOGUE).items() if count > 1] == []


def test_no_label_on_every_family() -> None:
    assert not set.intersection(*(set(family.labels) for family in CATALOGUE)), "a constant label is a target label"


def test_a_boundary_is_in_the_name_of_a_counter() -> None:
    assert [family.name for family in CATALOGUE if family.kind is Kind.COUNTER and "boundary" in family.labels] == []


def test_info_families_say_so() -> None:
    for family in CATALOGUE:
        assert family.name.endswith("_info") is family.help.endswith("constant 1."), family.name


def test_the_reference_has_a_row_for_every_family() -> None:
    page = render_metrics_reference()
    for family in CATALOGUE:
        assert f"| `{family.name}` | " in page
        assert family.help.replace("|", "\\|") in page


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("tokwatt_output_tokens_total", "tokens"),
        ("tokwatt_server_gpu_energy_joules_total", "joules"),
        ("tokwatt_output_tokens_per_joule", "tokens per joule"),
        ("tokwatt_capacity_price_dollars_per_second", "dollars per second"),
        ("tokwatt_source_last_success_timestamp_seconds", "seconds since 1970"),
        ("tokwatt_gap_seconds_total", "seconds"),
        ("tokwatt_source_up", ""),
        ("tokwatt_pue_ratio", "ratio"),
    ],
)
def test_units_in_the_reference(name: str, unit: str) -> None:
    assert unit_of(next(family for family in CATALOGUE if family.name == name)) == unit
