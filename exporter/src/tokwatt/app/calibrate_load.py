"""The client side of `tokwatt calibrate`: prompts that no cache has seen, and completions of an OpenAI-style server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from yarl import URL

from tokwatt.readings import Malformed, Refused, SourceError, Unavailable
from tokwatt.sources._http import Access, Http, authorization, safe_url

REQUEST_SECONDS = 300.0  # longest wait for one answer
MODELS_SECONDS = 5.0
_QUOTED_CHARS = 200
# short common words, so that a word is about a token in any vocabulary
_WORDS = """
the of and to in is that it for as with was on be at by had not are but from or have an they which one you
were all her she there would their we him been has when who will no more if out so up said what its about than
into them can only other time new some could these two may first then do any like my now over such our man me
even most made after also did many off before must well back through years much where your way down should
because long each just state people those too mr how little good world make very year still see own work men
day get here old life both between being under three never know same last another while us might great go come
since against right came take used few
"""


@dataclass(frozen=True, slots=True)
class Usage:
    """What the server says one request took. None: it does not say."""

    prompt_tokens: float | None  # cached ones included
    cached_tokens: float
    output_tokens: float | None


class Completions(Protocol):
    """Something that answers prompts."""

    async def complete(self, prompt: str, max_tokens: int) -> Usage:
        """Answer one prompt with that many tokens. Raises SourceError."""
        ...


def prompt_of(words: int, rng: Random) -> str:
    """Draw a prompt of about that many tokens. Its first words are drawn too, so no prefix of it is in a cache."""
    return " ".join(rng.choices(_WORDS.split(), k=words))


class HttpCompletions:
    """`/v1/completions`, or llama.cpp's own `/completion` where a server has only that.

    `access` holds the API's key file: it is read for each request and never shown.
    """

    def __init__(self, base: URL, http: Http, access: Access) -> None:
        self._base = base
        self._http = http
        self._access = access
        self._model = ""
        self._own = False  # llama.cpp's /completion
        self._plain = False  # the server refuses what is no part of OpenAI's API

    async def open(self) -> None:
        """Ask for the model's name; a server that has no such list needs none. Raises Refused only."""
        try:
            answer = await self._send("GET", "/v1/models", None, MODELS_SECONDS)
        except Refused:
            raise
        except SourceError:
            return
        try:
            self._model = str(json.loads(answer)["data"][0]["id"])
        except (ValueError, LookupError, TypeError):
            self._model = ""

    async def complete(self, prompt: str, max_tokens: int) -> Usage:
        """Answer one prompt. Raises SourceError."""
        if self._own:
            return await self._llamacpp(prompt, max_tokens)
        body: dict[str, Any] = {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0}
        if self._model:
            body["model"] = self._model
        if not self._plain:
            body |= {
                "ignore_eos": True,
                "cache_prompt": False,
            }  # answer to the end; llama.cpp: no prefix of another slot
        try:
            answer = await self._send("POST", "/v1/completions", body, REQUEST_SECONDS)
        except Unavailable:
            usage = await self._llamacpp(prompt, max_tokens)
            self._own = True
            return usage
        except Malformed:
            if self._plain:
                raise
            self._plain = True
            return await self.complete(prompt, max_tokens)
        return _usage(answer)

    async def _llamacpp(self, prompt: str, max_tokens: int) -> Usage:
        body = {"prompt": prompt, "n_predict": max_tokens, "temperature": 0, "ignore_eos": True, "cache_prompt": False}
        said = _object(await self._send("POST", "/completion", body, REQUEST_SECONDS))
        return Usage(_number(said.get("tokens_evaluated")), 0.0, _number(said.get("tokens_predicted")))

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None, timeout_seconds: float) -> bytes:
        url = self._base.with_path(path).with_query(None)
        where = safe_url(url)
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            **authorization(self._access, where),
        }
        answer = await self._http.send(
            method,
            url,
            timeout_seconds=timeout_seconds,
            access=self._access,
            headers=headers,
            body=None if body is None else json.dumps(body).encode(),
        )
        if answer.status == 200:
            return answer.body
        what = f"HTTP {answer.status}{_words(answer.body)}"
        if answer.status in (401, 403):
            raise Refused(what, where=where, hint="give the key's file with --api-key-file")
        if answer.status in (404, 405, 501):
            raise Unavailable(f"{what}: no completions at this path", where=where, hint="give the API's address: --url")
        raise Malformed(what, where=where)


def _usage(answer: bytes) -> Usage:
    said = _object(answer).get("usage")
    usage = said if isinstance(said, dict) else {}
    details = usage.get("prompt_tokens_details")
    cached = _number(details.get("cached_tokens")) if isinstance(details, dict) else None
    return Usage(_number(usage.get("prompt_tokens")), cached or 0.0, _number(usage.get("completion_tokens")))


def _object(answer: bytes) -> dict[str, Any]:
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Malformed("the answer is no JSON object", hint="is this an OpenAI-style server?")
    return found


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _words(body: bytes) -> str:
    text = " ".join(body.decode("utf-8", "replace").split())[:_QUOTED_CHARS]
    return f": {text}" if text and not text.startswith("<") else ""
