"""promtool's verdict on the shipped rules, the sample configuration, and the unit tests of every rule."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.prometheus import check_config, check_rules
from support.prometheus import test_rules as run_rule_tests
from support.rules import RULES, write_rules
from support.tools import need

from deploy.prometheus.source.model import Settings

pytestmark = pytest.mark.e2e

RULE_TESTS = sorted((RULES / "tests").glob("*.yml"))


def test_rules_are_valid() -> None:
    need("promtool")
    check_rules(*sorted(RULES.glob("tokwatt-*.yml")))


def test_the_sample_configuration_is_valid() -> None:
    need("promtool")
    check_config(RULES / "prometheus.yml")


def test_compressed_rules_are_valid(tmp_path: Path) -> None:
    need("promtool")
    check_rules(*write_rules(tmp_path, Settings().scaled(60)))


@pytest.mark.parametrize("file", RULE_TESTS, ids=lambda file: file.stem)
def test_rules_do_what_they_should(file: Path) -> None:
    need("promtool")
    run_rule_tests(file)
