"""One request for embeddings over HTTP, and what its answer means.

Classified by status code and the published shape of an error, never by the words in it.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from qafila.embedders.limit_arithmetic import hint_seconds

_REASON_CHARACTERS = 300
_NOT_TAKEN = (503, 529)  # too busy to take it, so nothing was read
_BYTES_A_NUMBER = 64  # as text, with the blanks of a generous writer
_BYTES_AT_LEAST = 1 << 24  # for what an answer holds beside its vectors
UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    binascii.Error,
    OverflowError,
    RecursionError,  # a number or brackets beyond all measure
)


class Fault(Enum):
    """What can come instead of vectors, by what there is to do about it."""

    LIMIT = "the service's limit was reached"
    BUSY = "the service did not answer"
    GARBLED = "the answer was not usable"
    CONTENT = "the service refused the texts"
    KEY = "the service does not let us in"
    QUOTA = "the account has nothing left"
    UNKNOWN = "the service does not know the model or the address"
    DIMENSIONS = "the model answered vectors of another length"
    OTHER = "the service answered something unexpected"


@dataclass(frozen=True)
class Reply:
    """Vectors in the order of the texts, and the tokens that the service says it read."""

    vectors: NDArray[np.float32]
    tokens: int | None


@dataclass(frozen=True)
class Failure:
    """No vectors. ``sent`` says whether the service may have read the texts, and charge for it."""

    fault: Fault
    reason: str
    pause_seconds: float | None = None
    sent: bool = False


@dataclass(frozen=True)
class Ask:
    """What every request of one embedder has in common."""

    model: str
    dimensions: int
    ask_dimensions: bool
    timeout_seconds: float


def post(
    client: httpx.Client, ask: Ask, texts: Sequence[str], encoding: str | None
) -> Reply | Failure:
    """Ask for vectors once; never raises for what a service or a network does."""
    body: dict[str, Any] = {"model": ask.model, "input": list(texts)}
    if encoding is not None:
        body["encoding_format"] = encoding
    if ask.ask_dimensions:
        body["dimensions"] = ask.dimensions
    ends = time.monotonic() + ask.timeout_seconds
    try:
        with client.stream("POST", "embeddings", json=body) as response:
            parts, most = [], _BYTES_AT_LEAST + len(texts) * ask.dimensions * _BYTES_A_NUMBER
            for part in response.iter_bytes():  # a timeout of httpx is for one part only
                parts.append(part)
                most -= len(part)
                if most < 0:
                    return _garbled("it is longer than any that was asked for")
                if time.monotonic() > ends:
                    raise httpx.ReadTimeout("the answer took too long", request=response.request)
            content = b"".join(parts)
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        return Failure(Fault.BUSY, f"no connection ({type(error).__name__})")
    except httpx.TimeoutException:
        return Failure(Fault.BUSY, f"no answer within {ask.timeout_seconds:g} s", sent=True)
    except (httpx.TransportError, httpx.DecodingError) as error:
        return Failure(Fault.BUSY, f"the connection broke ({type(error).__name__})", sent=True)
    if response.status_code == 200:
        return read_reply(content, len(texts), ask.dimensions)
    return read_failure(response.status_code, response.headers, content)


def read_reply(content: bytes, texts: int, dimensions: int) -> Reply | Failure:
    """Return the vectors of an answer, put in order; or what is wrong with it."""
    try:
        body = json.loads(content)
        data = body["data"]
        rows = {int(item["index"]): _vector(item["embedding"]) for item in data}
        usage = body.get("usage") or {}
        tokens = usage.get("prompt_tokens") or usage.get("total_tokens")
    except UNREADABLE as error:
        return _garbled(f"it cannot be read ({type(error).__name__})")
    if len(data) != texts:
        return _garbled(f"{len(data)} vectors for {texts} texts")
    if sorted(rows) != list(range(texts)):
        return _garbled(f"{len(rows)} different indexes for {texts} texts")
    lengths = sorted({len(row) for row in rows.values()})
    if 0 in lengths:  # of one text, perhaps: dividing finds it
        return _garbled("an empty vector")
    if lengths != [dimensions]:
        found = " and ".join(map(str, lengths))
        return Failure(Fault.DIMENSIONS, f"{found} dimensions instead of {dimensions}", sent=True)
    vectors = np.stack([rows[i] for i in range(texts)])
    return Reply(vectors, tokens if isinstance(tokens, int) and tokens > 0 else None)


def _vector(value: object) -> NDArray[np.float32]:
    if isinstance(value, str):
        return np.frombuffer(base64.b64decode(value, validate=True), "<f4")
    with np.errstate(over="ignore"):  # infinite then, which is rejected with a reason
        row = np.asarray(value, np.float32)
    if row.ndim != 1:
        raise ValueError("a vector has one dimension")
    return row


def _garbled(what: str) -> Failure:
    return Failure(Fault.GARBLED, what, sent=True)


def read_failure(status: int, headers: Mapping[str, str], content: bytes) -> Failure:
    """Return what an answer other than 200 means."""
    message, code = _error_of(content)
    reason = f"HTTP {status}: {message}" if message else f"HTTP {status}"
    pause = hint_seconds(headers.get("retry-after", ""), headers.get("date", ""), datetime.now(UTC))
    if status in (401, 403):  # their messages like to repeat a part of the key
        return Failure(Fault.KEY, f"HTTP {status}")
    if status == 429:
        fault = Fault.QUOTA if code == "insufficient_quota" else Fault.LIMIT
        return Failure(fault, reason, pause)
    if status == 402:
        return Failure(Fault.QUOTA, reason)
    if status in (400, 413, 422):
        return Failure(Fault.CONTENT, reason)
    if 300 <= status < 400:  # never followed: the texts and the key are for the host that was named
        return Failure(Fault.UNKNOWN, f"HTTP {status}: it moved{_moved_to(headers)}")
    if status in (404, 405, 410):
        return Failure(Fault.UNKNOWN, reason)
    if status in (408, 409, 425, *_NOT_TAKEN):
        return Failure(Fault.BUSY, reason, pause)
    if status >= 500:  # it, or one behind the gateway, may have read the texts before it failed
        return Failure(Fault.BUSY, reason, pause, sent=True)
    return Failure(Fault.OTHER, reason)


def _moved_to(headers: Mapping[str, str]) -> str:
    """Return where to, without what may be secret in an address."""
    try:
        found = httpx.URL(headers.get("location", ""))
    except httpx.InvalidURL:
        return ""
    host = f"{found.scheme}://{found.netloc.decode('ascii', 'replace')}" if found.host else ""
    place = (host + found.path)[:_REASON_CHARACTERS]
    return f" to {place}" if headers.get("location") else ""


def _error_of(content: bytes) -> tuple[str, str]:
    """Return message and code of an error: OpenAI's shape, or ``detail`` or ``message`` alone."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return "", ""
    error = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return str(error)[:_REASON_CHARACTERS], ""
    message = error.get("message") or error.get("detail") or ""
    if not isinstance(message, str):
        message = json.dumps(message)
    return " ".join(message.split())[:_REASON_CHARACTERS], str(error.get("code") or "")
