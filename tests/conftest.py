"""What holds for all tests: a loud line about programs that were missing."""

from __future__ import annotations

import pytest
from support import tools


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end, where it is read, that some tests could not run here."""
    skipped = terminalreporter.stats.get("skipped", [])
    if any("tests/e2e" in report.nodeid for report in skipped) and (missing := tools.missing()):
        terminalreporter.write_sep("!", "external programs are missing, tests were skipped", red=True)
        terminalreporter.write_line(str(tools.ToolMissing(missing)))
