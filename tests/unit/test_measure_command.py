"""What `tokwatt measure` refuses before a long run, and what it makes of files of many runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokwatt.app import measure_files
from tokwatt.app.cli import main
from tokwatt.app.measure_page import sweep_page
from tokwatt.app.measure_report import COLUMNS

NO_SERVER = "servers:\n  - {name: chat, url: 'http://127.0.0.1:1/metrics', timeout_seconds: 1}\nmeters: []\n"


def row(labels: str, part: str, **cells: str) -> dict[str, str]:
    return dict.fromkeys(COLUMNS, "") | {"labels": labels, "part": part, "server": "chat", "exit_status": "0"} | cells


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    file = tmp_path / "sweep.csv"
    for users in (1, 8):
        figures = {
            "output_tokens_per_second": str(100 * users),
            "gpu_output_tokens_per_joule": str(0.5 * users),
            "output_tokens_per_dollar": str(250_000 * users),
        }
        whole = row(f"users={users}", "run", seconds="80", output_tokens_per_second="1")
        measure_files.append_rows(file, [whole, row(f"users={users}", "steady", seconds="60", **figures)])
    return file


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["measure", *arguments]) == 2
    return capsys.readouterr().err


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ((), "no command: write tokwatt measure [options] -- COMMAND"),
            (("--", "no-such-program-anywhere"), "no-such-program-anywhere: no such command"),
            (("--label", "fast", "--", "true"), "write key=value without spaces"),
            (("--label", "a=1", "--label", "a=2", "--", "true"), "a is given twice"),
            (("--json", "/no/such/folder/x.json", "--", "true"), "/no/such/folder/x.json: cannot be written"),
            (("--compare", "/no/such/file.csv"), "/no/such/file.csv: cannot be read"),
            (("--compare", "x.csv", "--label", "a=1"), "it goes with --report alone"),
        ],
    )
    def test_wrong_use(self, arguments, words, capsys):
        assert words in refusal(capsys, *arguments)

    def test_a_file_with_other_columns_is_not_appended_to(self, tmp_path, capsys):
        file = tmp_path / "other.csv"
        file.write_text("a,b\n1,2\n")
        assert "use another file" in refusal(capsys, "--csv", str(file), "--", "true")
        assert file.read_text() == "a,b\n1,2\n"
        assert "no column server" in refusal(capsys, "--compare", str(file))

    def test_an_empty_file_holds_no_run(self, tmp_path, capsys):
        file = tmp_path / "empty.csv"
        measure_files.append_rows(file, [])
        assert "holds no run yet" in refusal(capsys, "--compare", str(file))

    def test_a_mistake_in_the_configuration(self, tmp_path, capsys):
        file = tmp_path / "tokwatt.yml"
        file.write_text("serbers: []\n")
        assert "did you mean servers?" in refusal(capsys, "--config", str(file), "--", "true")


class TestNothingToMeasure:
    def test_no_server_answers_and_the_command_is_not_started(self, tmp_path, capsys):
        config, mark = tmp_path / "tokwatt.yml", tmp_path / "started"
        config.write_text(NO_SERVER)
        report = tmp_path / "report.json"
        arguments = ["measure", "--config", str(config), "--json", str(report), "--", "touch", str(mark)]
        assert main(arguments) == 1
        assert "no inference server answers:\n  chat: " in capsys.readouterr().err
        assert not mark.exists()
        assert not report.exists()


class TestSweeps:
    def test_the_steady_state_stands_for_a_run(self, sweep, capsys):
        assert main(["measure", "--compare", str(sweep)]) == 0
        shown = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert shown == [
            ["LABELS", "SERVER", "PART", "TOK/S", "TOK/J", "GPU", "TOK/$", "NOTE"],
            ["users=1", "chat", "steady", "100", "0.5", "250,000"],
            ["users=8", "chat", "steady", "800", "4", "2,000,000"],
        ]

    def test_a_failed_run_is_marked(self, sweep):
        measure_files.append_rows(sweep, [row("users=64", "run", exit_status="1", seconds="2")])
        assert "command failed (1)" in measure_files.as_table(measure_files.read_rows(sweep))

    def test_its_page_holds_a_point_for_each_run_and_escapes_what_it_shows(self, sweep):
        measure_files.append_rows(sweep, [row("<b>=1", "run", seconds="2", output_tokens_per_second="5")])
        page = sweep_page(measure_files.read_rows(sweep), "<i>sweep</i>")
        assert page.count("<circle") == 4  # the third run has no energy and no price
        assert "users=8: 800 tok/s, 4 tok/J" in page
        assert "users=8: 800 tok/s, 0.5 $/Mtok" in page
        assert "<b>" not in page
        assert "<i>" not in page

    def test_a_file_of_runs_without_tokens_has_a_page_too(self, tmp_path):
        file = tmp_path / "none.csv"
        measure_files.append_rows(file, [row("a=1", "run", seconds="2")])
        page = sweep_page(measure_files.read_rows(file), "none")
        assert "not measured" in page
        assert "<svg" not in page
