"""A small benchmark: URL SECONDS CONCURRENCY FILE. Sends completions, then writes what the server's answers said."""

from __future__ import annotations

import itertools
import json
import sys
import threading
import time
import urllib.request
from pathlib import Path


def complete(url: str, number: int) -> dict[str, int]:
    """One request of its own text, so that no prompt is cached whole."""
    body = {"prompt": f"Note {number}: the quick brown fox jumps over the lazy dog. ", "max_tokens": 8}
    body |= {"temperature": 0, "ignore_eos": True}
    request = urllib.request.Request(
        f"{url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        usage = json.load(answer)["usage"]
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    return {"responses": 1, "output": usage["completion_tokens"], "input": usage["prompt_tokens"] - cached}


def main(url: str, seconds: float, concurrency: int, file: Path) -> None:
    """Keep so many requests running for a time."""
    end, numbers, answers = time.monotonic() + seconds, itertools.count(), []

    def client() -> None:
        while time.monotonic() < end:
            answers.append(complete(url, next(numbers)))

    clients = [threading.Thread(target=client) for _ in range(concurrency)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    sums = {key: sum(answer[key] for answer in answers) for key in ("responses", "output", "input")}
    file.write_text(json.dumps(sums))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
