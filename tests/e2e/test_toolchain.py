"""The real programs that other tests lean on do what those tests assume."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support import chromium
from support.alertmanager import running_alertmanager, webhook_receiver
from support.llama_server import running_llama_server
from support.openmetrics import classic_samples, total
from support.processes import Child, ChildFailed, poll, running
from support.prometheus import check_metrics, check_rules, running_prometheus
from support.prometheus import test_rules as run_rule_tests

pytestmark = pytest.mark.e2e

EXPOSITION = "# HELP demo_joules_total Energy.\n# TYPE demo_joules_total counter\ndemo_joules_total 42\n"
PAGE = "<!doctype html><title>t</title><p id=p>before</p><script>p.textContent = 'a' + 'fter'</script>"
RULES = """
groups:
- name: demo
  rules:
  - alert: DemoEnergy
    expr: demo_joules_total > 41
    annotations: {summary: energy}
"""
RULE_TEST = """
rule_files: [rules.yml]
evaluation_interval: 1s
tests:
- interval: 1s
  input_series: [{series: demo_joules_total, values: '40 50'}]
  alert_rule_test:
  - {eval_time: 0s, alertname: DemoEnergy, exp_alerts: []}
  - {eval_time: 1s, alertname: DemoEnergy, exp_alerts: [{exp_annotations: {summary: energy}}]}
"""


@contextlib.contextmanager
def serving(**pages: str) -> Iterator[str]:
    """host:port that serves fixed pages."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pages[self.path.removeprefix("/")].encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html" if body.startswith(b"<") else "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_prometheus_scrapes_and_an_alert_reaches_the_webhook(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text(RULES)
    with (
        serving(metrics=EXPOSITION) as target,
        webhook_receiver() as receiver,
        running_alertmanager(tmp_path, receiver.url) as alertmanager,
        running_prometheus(tmp_path, {"demo": target}, rule_files=[rules], alertmanager=alertmanager) as prometheus,
    ):
        assert prometheus.wait_for("demo_joules_total")[0].value == 42
        assert prometheus.value('up{job="demo"}') == 1
        alert = receiver.wait_for(lambda alert: alert["status"] == "firing", "firing alert")
        assert alert["labels"]["alertname"] == "DemoEnergy"
        assert [target["health"] for target in prometheus.targets()] == ["up"]
        raw = prometheus.instant("demo_joules_total[1m]")[0].points
        assert raw
        assert all(value == 42 for _, value in raw)


def test_promtool_accepts_clean_metrics_and_names_a_bad_one() -> None:
    check_metrics(EXPOSITION)
    with pytest.raises(AssertionError, match="no help text"):
        check_metrics("# TYPE demo_joules_total counter\ndemo_joules_total 42\n")


def test_promtool_runs_rule_tests(tmp_path: Path) -> None:
    rules, unit = tmp_path / "rules.yml", tmp_path / "unit.yml"
    rules.write_text(RULES)
    unit.write_text(RULE_TEST)
    check_rules(rules)
    run_rule_tests(unit)
    unit.write_text(RULE_TEST.replace("40 50", "40 41"))
    with pytest.raises(AssertionError, match="DemoEnergy"):
        run_rule_tests(unit)


def test_chromium_renders_a_page_after_its_scripts(tmp_path: Path) -> None:
    with serving(page=PAGE) as target:
        assert ">after</p>" in chromium.dom(f"http://{target}/page", tmp_path)
        picture = chromium.screenshot(f"http://{target}/page", tmp_path / "page.png", width=300, height=200)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_child_that_dies_early_shows_its_log(tmp_path: Path) -> None:
    child = Child("broken", [sys.executable, "-c", "print('no such driver'); raise SystemExit(3)"], tmp_path / "log")
    with pytest.raises(ChildFailed, match=r"exited with 3[\s\S]*no such driver"):
        child.wait_for_url("http://127.0.0.1:1/", seconds=10)
    child.stop()


def test_children_do_not_outlive_a_killed_test_run(tmp_path: Path) -> None:
    # A parent that starts a long child through Child, tells its pid, and is killed without a chance to clean up.
    script = (
        "import sys, time, pathlib; from support.processes import Child; "
        "print(Child('sleeper', ['sleep', '300'], pathlib.Path(sys.argv[1])).pid, flush=True); time.sleep(300)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout
        orphan = int(parent.stdout.readline())
        assert Path(f"/proc/{orphan}").exists()
        time.sleep(0.2)  # `setpriv` must have become `sleep`
        parent.send_signal(signal.SIGKILL)
    poll(lambda: gone(orphan), "end of the orphan", 10)


def gone(pid: int) -> bool:
    """True for a process that ended; an unreaped one counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_stubborn_child_is_killed(tmp_path: Path) -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(99)"
    )
    with running("stubborn", [sys.executable, "-c", stubborn], tmp_path) as child:
        child.wait_for_log("up")
        assert child.stop(0.3) == -signal.SIGKILL


def test_llama_server_counts_what_it_tells_its_clients(tmp_path: Path) -> None:
    with running_llama_server(tmp_path) as server:
        usage = server.load([("The mill turns, the river runs. " * 8 + f"Question {n}", 6) for n in range(4)])
        assert usage.requests == 4
        assert usage.completion_tokens == 4 * 6
        assert usage.cached_tokens > 0
        wanted = {
            "llamacpp:prompt_tokens_total": usage.prompt_tokens - usage.cached_tokens,
            "llamacpp:prompt_tokens_cached_total": usage.cached_tokens,
            "llamacpp:tokens_predicted_total": usage.completion_tokens,
        }

        def counted() -> bool:  # counters move when the server closes a request, a moment after the client's answer
            samples = classic_samples(server.metrics_text())
            return all(total(samples, name) == value for name, value in wanted.items())

        poll(counted, f"counters {wanted}", 5)
