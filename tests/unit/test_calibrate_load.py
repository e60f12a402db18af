"""The client of `tokwatt calibrate` against servers that answer in different ways."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from tokwatt.app.calibrate_command import _api
from tokwatt.app.calibrate_load import HttpCompletions, Usage, prompt_of
from tokwatt.config import ServerConfig
from tokwatt.readings import Malformed, Refused, Unavailable
from tokwatt.sources._http import Access, Http

OPENAI = {"usage": {"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}}
Answer = Callable[[str, dict[str, Any]], tuple[int, Any]]  # path and body to status and JSON


@contextlib.asynccontextmanager
async def api(answer: Answer, key_file: str = "") -> AsyncIterator[tuple[HttpCompletions, list[tuple[str, Any, str]]]]:
    """A server, a client of it, and the requests seen: path, body, Authorization."""
    seen: list[tuple[str, Any, str]] = []

    async def handle(request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else {}
        seen.append((request.path, body, request.headers.get("Authorization", "")))
        status, said = answer(request.path, body)
        return web.json_response(said, status=status)

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    http = Http()
    port = runner.addresses[0][1]
    try:
        yield HttpCompletions(URL(f"http://127.0.0.1:{port}/"), http, Access(key_file)), seen
    finally:
        await http.aclose()
        await runner.cleanup()


def openai(path: str, _body: dict[str, Any]) -> tuple[int, Any]:
    return (200, {"data": [{"id": "org/model"}]}) if path == "/v1/models" else (200, OPENAI)


async def test_a_prompt_is_answered_to_the_end_with_the_servers_own_model_name() -> None:
    async with api(openai) as (client, seen):
        await client.open()
        assert await client.complete("one two", 3) == Usage(12, 2, 3)
    path, body, authorization = seen[-1]
    assert path == "/v1/completions"
    assert body == {
        "model": "org/model",
        "prompt": "one two",
        "max_tokens": 3,
        "temperature": 0,
        "ignore_eos": True,
        "cache_prompt": False,
    }
    assert authorization == ""


async def test_the_key_is_read_from_its_file_and_never_shown(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("hunter2\n")

    def refuse(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        return (401, {"error": "bad key"}) if path == "/v1/completions" else openai(path, body)

    async with api(refuse, str(key)) as (client, seen):
        await client.open()
        with pytest.raises(Refused, match="--api-key-file") as caught:
            await client.complete("one", 1)
    assert {authorization for _, _, authorization in seen} == {"Bearer hunter2"}
    assert "hunter2" not in str(caught.value)


async def test_a_server_that_refuses_unknown_fields_is_asked_without_them() -> None:
    def strict(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        return (400, {"error": {"message": "ignore_eos: unknown"}}) if "ignore_eos" in body else openai(path, body)

    async with api(strict) as (client, seen):
        assert (await client.complete("one", 1)).output_tokens == 3
        await client.complete("two", 1)
    assert ["ignore_eos" in body for _, body, _ in seen] == [True, False, False], "and it is remembered"


async def test_a_server_that_refuses_every_request_is_quoted() -> None:
    async with api(lambda *_: (400, {"error": {"message": "context too long"}})) as (client, _seen):
        with pytest.raises(Malformed, match="context too long"):
            await client.complete("one", 1)


async def test_llamacpps_own_endpoint() -> None:
    def own(path: str, _body: dict[str, Any]) -> tuple[int, Any]:
        return (200, {"tokens_evaluated": 7, "tokens_predicted": 5}) if path == "/completion" else (404, {})

    async with api(own) as (client, seen):
        await client.open()
        assert await client.complete("one", 5) == Usage(7, 0, 5)
        await client.complete("two", 5)
    assert [path for path, _, _ in seen] == ["/v1/models", "/v1/completions", "/completion", "/completion"]
    assert seen[-1][1]["n_predict"] == 5


async def test_a_server_without_completions_says_what_to_give() -> None:
    async with api(lambda *_: (404, {})) as (client, _seen):
        with pytest.raises(Unavailable, match="--url"):
            await client.complete("one", 1)


@pytest.mark.parametrize(
    "said", [[], {"usage": None}, {"usage": {"prompt_tokens": True}}, {"usage": {"prompt_tokens": "x"}}]
)
async def test_usage_that_is_none(said: Any) -> None:
    async with api(lambda *_: (200, said)) as (client, _seen):
        if isinstance(said, list):
            with pytest.raises(Malformed, match="no JSON object"):
                await client.complete("one", 1)
        else:
            assert await client.complete("one", 1) == Usage(None, 0, None)


def test_prompts_have_about_the_words_asked_for_and_differ_from_the_first() -> None:
    rng = random.Random(3)
    prompts = [prompt_of(64, rng) for _ in range(200)]
    assert {len(prompt.split()) for prompt in prompts} == {64}
    assert len({tuple(prompt.split()[:4]) for prompt in prompts}) == 200
    assert json.dumps(prompts).isascii()


def test_the_token_of_the_metrics_page_goes_to_its_own_address_only() -> None:
    server = ServerConfig("chat", "https://gpu1:8000/metrics?x=1", bearer_token_file="/run/token", ca_file="/ca.pem")
    base, access = _api(server, None, None)
    assert (str(base), access.bearer_token_file, access.ca_file) == ("https://gpu1:8000/", "/run/token", "/ca.pem")
    assert _api(server, "https://gpu1:8000/v1", None)[1].bearer_token_file == "/run/token"
    assert _api(server, "https://gpu2:8000", None)[1].bearer_token_file == ""
    assert _api(server, "https://gpu2:8000", Path("/run/key"))[1].bearer_token_file == "/run/key"
