"""N inference servers with a metrics page of real vLLM size, for the benchmark: `python vllm_servers.py COUNT`.

The page is the recorded one of vLLM 0.32.0 under load (54 kB) with moving counters. Prints its ports as JSON, then
serves until killed. Runs in a process of its own, so that its cost is not the exporter's.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from pathlib import Path

from aiohttp import web

PAGE = Path(__file__).parents[1] / "captures" / "vllm" / "0.32.0__loaded.prom"
MOVING = re.compile(
    rb"^(vllm:(?:generation_tokens_total|prompt_tokens_total|prompt_tokens_by_source_total)\{[^}]*\}) [0-9.]+$",
    re.MULTILINE,
)


async def serve(count: int) -> None:
    """Serve `count` pages on ephemeral ports."""
    text = PAGE.read_bytes()
    started = time.monotonic()

    async def metrics(_: web.Request) -> web.Response:
        tokens = int(3000 * (time.monotonic() - started))
        body = MOVING.sub(lambda match: match[1] + b" %d.0" % tokens, text)
        return web.Response(body=body, content_type="text/plain")

    async def version(_: web.Request) -> web.Response:
        return web.json_response({"version": "0.32.0"})

    ports = []
    for _ in range(count):
        app = web.Application()
        app.router.add_get("/metrics", metrics)
        app.router.add_get("/version", version)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ports.append(runner.addresses[0][1])
    print(json.dumps(ports), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
