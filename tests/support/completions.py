"""A client of OpenAI-style completions that can also hang up: what it sent, what it was told, what it read."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from support.llama_server import Usage


@dataclass(frozen=True, slots=True)
class Answered:
    """A request that was answered whole. `read_tokens`: counted in the chunks of a stream, 0 without one."""

    usage: Usage
    read_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Completions:
    """Requests to one server; each on a connection of its own. Every request generates exactly its `max_tokens`."""

    url: str
    model: str

    def complete(self, prompt: str, max_tokens: int, **more: Any) -> Answered:
        """One request, the answer in one piece."""
        with self._sent(prompt, max_tokens, more) as connection:
            return Answered(_usage(json.loads(_answer(connection).read())))

    def stream(self, prompt: str, max_tokens: int) -> Answered:
        """One request, the answer token by token."""
        usage, read = Usage(), 0
        with self._sent(prompt, max_tokens, _STREAM) as connection:
            for chunk in _chunks(_answer(connection)):
                read += _tokens(chunk)
                usage += _usage(chunk) if chunk.get("usage") else Usage()
        return Answered(usage, read)

    def abort_stream(self, prompt: str, max_tokens: int, after_tokens: int) -> int:
        """Hang up in the middle of a stream. Returns the tokens read until then."""
        read = 0
        with self._sent(prompt, max_tokens, _STREAM) as connection:
            for chunk in _chunks(_answer(connection)):
                read += _tokens(chunk)
                if read >= after_tokens:
                    return read
        raise AssertionError(f"the stream ended after {read} tokens, before it could be aborted")

    def abort(self, prompt: str, max_tokens: int, when: Callable[[], object]) -> None:
        """Hang up on a request that is answered in one piece, as soon as `when()` returns: before any answer."""
        with self._sent(prompt, max_tokens, {}):
            when()

    def refused(self, prompt: str, max_tokens: int) -> str:
        """One request that the server must refuse with 400. Returns its words."""
        with self._sent(prompt, max_tokens, {}) as connection:
            answer = connection.getresponse()
            body = answer.read().decode()
            assert answer.status == 400, f"{answer.status}: {body[:300]}"
            return body

    @contextlib.contextmanager
    def _sent(self, prompt: str, max_tokens: int, more: Mapping[str, Any]) -> Iterator[http.client.HTTPConnection]:
        """A connection with the request sent; closed at once when the block ends, whatever is still to come."""
        host = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPConnection(host.hostname or "", host.port, timeout=120)
        body = {
            "model": self.model,
            "prompt": prompt,
            "max_tokens": max_tokens,
            "temperature": 0,
            "ignore_eos": True,
            **more,
        }
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        raw = connection.sock
        try:
            yield connection
        finally:
            with contextlib.suppress(OSError):  # the server may have closed it
                raw.shutdown(socket.SHUT_RDWR)
            raw.close()
            connection.close()


_STREAM: Mapping[str, Any] = {"stream": True, "stream_options": {"include_usage": True}, "return_token_ids": True}


def _answer(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
    answer = connection.getresponse()
    assert answer.status == 200, f"{answer.status}: {answer.read()[:300]!r}"
    return answer


def _chunks(answer: http.client.HTTPResponse) -> Iterator[Mapping[str, Any]]:
    for line in answer:
        data = line.removeprefix(b"data:").strip()
        if data and data != b"[DONE]":
            yield json.loads(data)


def _tokens(chunk: Mapping[str, Any]) -> int:
    """Tokens that a chunk brings: vLLM names them, since it may join several; llama.cpp sends a chunk for each."""
    choices = chunk.get("choices") or [{}]
    ids = choices[0].get("token_ids")
    return len(ids) if ids is not None else int(bool(choices[0].get("text")))


def _usage(answer: Mapping[str, Any]) -> Usage:
    usage = answer["usage"]
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Usage(1, usage["prompt_tokens"], cached, usage["completion_tokens"])
