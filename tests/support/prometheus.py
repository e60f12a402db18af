"""A real Prometheus on loopback with a generated config, its query API, and promtool's verdicts."""

from __future__ import annotations

import contextlib
import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from support import tools
from support.ports import free_port
from support.processes import Child, poll, running


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer. An instant vector has one point, a matrix several: (Unix seconds, value)."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]

    @property
    def value(self) -> float:
        """The newest value."""
        return self.points[-1][1]


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running server."""

    url: str
    child: Child

    def instant(self, query: str, at_unix_seconds: float | None = None) -> list[Series]:
        """Evaluate at one instant (default: now). A range selector gives the raw samples."""
        parameters = {"query": query}
        if at_unix_seconds is not None:
            parameters["time"] = f"{at_unix_seconds:.3f}"
        return _series(self._get("query", parameters))

    def range(self, query: str, start: float, end: float, step_seconds: float = 1.0) -> list[Series]:
        """Evaluate at every step between two Unix times."""
        parameters = {"query": query, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": str(step_seconds)}
        return _series(self._get("query_range", parameters))

    def value(self, query: str, at_unix_seconds: float | None = None) -> float:
        """The value of a query that must give exactly one series."""
        found = self.instant(query, at_unix_seconds)
        assert len(found) == 1, f"{query}: {len(found)} series, wanted 1: {[dict(one.labels) for one in found]}"
        return found[0].value

    def wait_for(self, query: str, seconds: float = 30.0) -> list[Series]:
        """Poll until a query gives something. The first scrape comes up to 5 s after the start."""
        return poll(lambda: self.instant(query), f"result of {query}", seconds)

    def alerts(self) -> list[Mapping[str, Any]]:
        """Pending and firing alerts."""
        return list(self._get("alerts", {})["alerts"])

    def targets(self) -> list[Mapping[str, Any]]:
        """Active targets with `health` and `lastError`."""
        return list(self._get("targets", {"state": "active"})["activeTargets"])

    def _get(self, endpoint: str, parameters: Mapping[str, str]) -> Any:
        url = f"{self.url}/api/v1/{endpoint}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                body = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{endpoint} {parameters}: {error.read().decode(errors='replace')}") from None
        return body["data"]


@contextlib.contextmanager
def running_prometheus(
    work: Path,
    targets: Mapping[str, str],
    *,
    rule_files: Sequence[Path] = (),
    scrape_interval: str = "1s",
    alertmanager: str | None = None,
    scrape_options: Mapping[str, Any] | None = None,
) -> Iterator[Prometheus]:
    """Start Prometheus scraping `targets` (job name -> host:port). `alertmanager`: host:port.

    `scrape_options` are added to every job: scheme, basic_auth, tls_config, sample_limit.
    """
    tools.need("prometheus", "promtool")
    work.mkdir(parents=True, exist_ok=True)
    config = {
        "global": {"scrape_interval": scrape_interval, "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(path) for path in rule_files],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [target]}], **(scrape_options or {})}
            for job, target in targets.items()
        ],
    }
    if alertmanager:
        config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}
    file = work / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    check_config(file)

    url = f"http://127.0.0.1:{free_port()}"
    argv = [
        tools.find("prometheus"),
        f"--config.file={file}",
        f"--storage.tsdb.path={work / 'prometheus-data'}",
        f"--web.listen-address={url.removeprefix('http://')}",
        "--web.enable-lifecycle",
        "--log.level=warn",
    ]
    with running("prometheus", argv, work) as child:
        child.wait_for_url(f"{url}/-/ready")
        yield Prometheus(url, child)


def check_metrics(text: str) -> None:
    """Let promtool judge an exposition in the classic text format: syntax and naming rules."""
    _promtool("check", "metrics", stdin=text)


def check_config(file: Path) -> None:
    """Let promtool judge a Prometheus config."""
    _promtool("check", "config", str(file))


def check_rules(*files: Path) -> None:
    """Let promtool judge rule files, lint included."""
    _promtool("check", "rules", "--lint=all", "--lint-fatal", *map(str, files))


def test_rules(*files: Path) -> None:
    """Run promtool's unit tests of rules."""
    _promtool("test", "rules", *map(str, files))


test_rules.__test__ = False  # type: ignore[attr-defined]  # a helper, whatever its name says to pytest


def _promtool(*arguments: str, stdin: str | None = None) -> str:
    tools.need("promtool")
    done = subprocess.run(
        [tools.find("promtool"), *arguments], input=stdin, capture_output=True, text=True, timeout=60, check=False
    )
    output = (done.stdout + done.stderr).strip()
    assert done.returncode == 0, f"promtool {' '.join(arguments)} (exit {done.returncode}):\n{output}"
    return output


def _series(data: Any) -> list[Series]:
    if data["resultType"] == "scalar":
        return [Series({}, (_point(data["result"]),))]
    return [
        Series(one["metric"], tuple(_point(point) for point in one.get("values") or [one["value"]]))
        for one in data["result"]
    ]


def _point(pair: Sequence[Any]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])
