"""One request for an answer over HTTP, streamed, and what comes back.

Server-sent events as the WHATWG HTML standard defines them (section 9.2), split at line feeds only:
JSON may hold other line ends. Failures are classified as those of an embedding service.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from qafila.embedders.wire import UNREADABLE, Failure, Fault, read_failure

_MOST_BYTES = 64_000_000  # a stream that never ends is no answer
_WORDS = 200


@dataclass(frozen=True)
class Reply:
    """An answer as it came. Seconds from sending; None where the service did not stream.

    ``finish`` is what the service says ended it, ``length`` for its most tokens. Tokens are the
    service's count, None when it does not say.
    """

    text: str
    finish: str
    tokens_in: int | None
    tokens_out: int | None
    first_s: float | None
    last_s: float | None
    total_s: float


@dataclass
class _Coming:
    begun: float
    pieces: list[str] = field(default_factory=list)
    finish: str = ""
    usage: Mapping[str, Any] = field(default_factory=dict)
    first: float | None = None
    last: float | None = None
    total: float | None = None
    done: bool = False


def post(
    client: httpx.Client, path: str, body: Mapping[str, Any], timeout_seconds: float
) -> Reply | Failure:
    """Ask once; never raises for what a service or a network does."""
    coming = _Coming(time.perf_counter())
    ends = time.monotonic() + timeout_seconds
    try:
        with client.stream("POST", path, json=body) as response:
            parts = _in_time(response, ends)
            if response.status_code != 200:
                return read_failure(response.status_code, response.headers, b"".join(parts))
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                return _read_whole(b"".join(parts), coming)
            for event in _events(parts):  # to the last byte, or the connection is lost
                failure = None if coming.done else _take(event, coming)
                if failure is not None:
                    return failure
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        return Failure(Fault.BUSY, f"no connection ({type(error).__name__})")
    except httpx.TimeoutException:
        if not coming.done:
            return Failure(Fault.BUSY, f"no whole answer within {timeout_seconds:g} s", sent=True)
    except (httpx.TransportError, httpx.DecodingError) as error:
        if not coming.done:
            return Failure(Fault.BUSY, f"the connection broke ({type(error).__name__})", sent=True)
    if not coming.done and not coming.finish:
        return Failure(Fault.BUSY, "the stream ended before the answer did", sent=True)
    return _reply(coming)


def _in_time(response: httpx.Response, ends: float) -> Iterator[bytes]:
    """Yield what comes until the deadline: a timeout of httpx is for one part only."""
    size = 0
    for part in response.iter_bytes():
        size += len(part)
        if time.monotonic() > ends or size > _MOST_BYTES:
            raise httpx.ReadTimeout("the answer took too long", request=response.request)
        yield part


def _events(parts: Iterator[bytes]) -> Iterator[str]:
    """Yield the data of each event; comments and other fields are left out."""
    held: list[bytes] = []  # of the line that has not ended: joined once, not at every part
    data: list[str] = []
    for part in parts:
        *ended, rest = part.split(b"\n")
        if ended:
            ended[0] = b"".join([*held, ended[0]])
            held.clear()
        held.append(rest)
        for raw in ended:
            line = raw.removesuffix(b"\r")
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" ").decode("utf-8", "replace"))
            elif not line and data:
                yield "\n".join(data)
                data = []
    if data:  # the last event may lack its empty line
        yield "\n".join(data)


def _take(event: str, coming: _Coming) -> Failure | None:
    """Add one event to what came; return what is wrong with it, if anything."""
    if event.strip() == "[DONE]":
        coming.done, coming.total = True, time.perf_counter() - coming.begun
        return None
    try:
        body = json.loads(event)
        if body.get("error"):
            return Failure(
                Fault.BUSY, f"an error in the stream: {_words(body['error'])}", sent=True
            )
        for choice in (body.get("choices") or [])[:1]:
            piece = (choice.get("delta") or {}).get("content") or choice.get("text") or ""
            if piece:
                coming.last = time.perf_counter() - coming.begun
                coming.first = coming.last if coming.first is None else coming.first
                coming.pieces.append(str(piece))
            coming.finish = choice.get("finish_reason") or coming.finish
        coming.usage = body.get("usage") or coming.usage
    except UNREADABLE as error:
        reason = f"an event of the stream cannot be read ({type(error).__name__})"
        return Failure(Fault.GARBLED, reason, sent=True)
    return None


def _read_whole(content: bytes, coming: _Coming) -> Reply | Failure:
    """Return an answer that came in one piece: how long its first token took is not known."""
    try:
        body = json.loads(content)
        choice = body["choices"][0]
        message = choice.get("message")
        coming.pieces = [(choice.get("text") if message is None else message["content"]) or ""]
        coming.finish = choice.get("finish_reason") or "stop"
        coming.usage = body.get("usage") or {}
        return _reply(coming)
    except (*UNREADABLE, IndexError) as error:
        reason = f"the answer cannot be read ({type(error).__name__})"
        return Failure(Fault.GARBLED, reason, sent=True)


def _reply(coming: _Coming) -> Reply:
    return Reply(
        "".join(coming.pieces),
        coming.finish or "stop",
        _count(coming.usage.get("prompt_tokens")),
        _count(coming.usage.get("completion_tokens")),
        coming.first,
        coming.last,
        time.perf_counter() - coming.begun if coming.total is None else coming.total,
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _words(error: object) -> str:
    message = error.get("message") if isinstance(error, Mapping) else error
    return " ".join(str(message or error).split())[:_WORDS]
