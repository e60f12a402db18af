"""N scrapers, each once a second like N Prometheus servers: `python scrapers.py URL COUNT SECONDS`. Prints JSON."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time

import aiohttp

ACCEPT = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}


async def scrape(session: aiohttp.ClientSession, url: str, seconds: float, times: list[float]) -> None:
    """Scrape once a second at an instant of its own."""
    await asyncio.sleep(random.random())
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.monotonic()
        async with session.get(url, headers=ACCEPT) as answer:
            await answer.read()
        times.append(time.monotonic() - started)
        await asyncio.sleep(max(0.0, 1 - (time.monotonic() - started)))


async def main(url: str, count: int, seconds: float) -> None:
    """Run all scrapers and print percentiles in milliseconds."""
    times: list[float] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(scrape(session, url, seconds, times) for _ in range(count)))
    times.sort()
    picks = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    found = {name: 1000 * times[min(len(times) - 1, int(at * len(times)))] for name, at in picks.items()}
    print(json.dumps({"scrapes": len(times), **found}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
