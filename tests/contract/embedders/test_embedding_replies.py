"""What an answer of an embedding service means: every shape has one, none is a traceback."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.embedders.wire import (
    Ask,
    Failure,
    Fault,
    Reply,
    post,
    read_failure,
    read_reply,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["data", "index", "embedding", "usage", "error", "prompt_tokens"]),
            inner,
        )
    ),
    max_leaves=12,
)


def answer(*rows: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"data": rows, **more}).encode()


def row(index: Any, embedding: Any) -> dict[str, Any]:
    return {"index": index, "embedding": embedding}


def test_vectors_are_put_in_the_order_of_their_indexes_in_both_encodings() -> None:
    packed = base64.b64encode(np.array([3, 4], "<f4").tobytes()).decode()
    reply = read_reply(answer(row(1, packed), row(0, [1, 2])), 2, 2)
    assert isinstance(reply, Reply)
    np.testing.assert_array_equal(reply.vectors, [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[" * 200_000,
        b'{"data"',
        b"\xff\xfe",
        answer(),
        answer(row(0, None)),
        answer(row(0, [])),
        answer(row(0, "AAA")),
        answer(row(0, "AAAA")),
        answer(row(0, [[1, 2]])),
        answer(row(1, [1, 2])),
        answer(row(-1, [1, 2])),
        answer(row(None, [1, 2])),
        answer({"embedding": [1, 2]}),
        answer(row(0, [1, 2]), row(0, [1, 2])),
        answer(row(float("inf"), [1, 2])),
        answer(row(0, [10**400, 2])),
        b'{"error": {"message": "overloaded"}}',
        answer(row(0, ["x", "y"])),
    ],
)
def test_an_answer_without_one_vector_a_text_is_not_usable(content: bytes) -> None:
    reply = read_reply(content, 1, 2)
    assert isinstance(reply, Failure)
    assert reply.fault is Fault.GARBLED
    assert reply.sent


def test_an_empty_vector_among_others_is_no_change_of_the_model() -> None:
    reply = read_reply(answer(row(0, [1, 2]), row(1, [])), 2, 2)
    assert isinstance(reply, Failure)
    assert reply.fault is Fault.GARBLED


def test_a_number_too_large_for_a_vector_is_infinite_and_no_warning() -> None:
    reply = read_reply(answer(row(0, [1e300, None])), 1, 2)
    assert isinstance(reply, Reply)
    assert not np.isfinite(reply.vectors).any()


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 5, "total_tokens": 7}, 5),
        ({"total_tokens": 7}, 7),
        ({"prompt_tokens": None, "total_tokens": 7}, 7),
        ({}, None),
        (None, None),
        ({"prompt_tokens": "7"}, None),
    ],
)
def test_tokens_are_what_the_service_says_it_read(usage: Any, tokens: int | None) -> None:
    reply = read_reply(answer(row(0, [1, 2]), usage=usage), 1, 2)
    assert isinstance(reply, Reply)
    assert reply.tokens == tokens


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_named_and_never_followed(status: int) -> None:
    headers = httpx.Headers({"location": "https://user:word@eu.example.org/v2/embeddings?key=word"})
    failure = read_failure(status, headers, b"<html>")
    assert failure.fault is Fault.UNKNOWN
    assert "it moved to https://eu.example.org/v2/embeddings" in failure.reason
    assert "word" not in failure.reason
    for odd in ("", "http://[", "/v2", "\x00"):
        assert "it moved" in read_failure(status, {"location": odd}, b"").reason


@given(JSON, st.integers(201, 599), st.sampled_from(["", "1", "nan", "-1", "1e400", "Fri, 31 Dec"]))
def test_whatever_is_answered_has_a_meaning(body: Any, status: int, hint: str) -> None:
    content = json.dumps(body).encode()
    assert isinstance(read_reply(content, 1, 2), Failure | Reply)
    failure = read_failure(status, {"retry-after": hint, "location": hint}, content)
    assert failure.pause_seconds in (None, 1.0)
    read_failure(status, {}, content[: len(content) // 2])


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        (500, True),
        (502, True),
        (504, True),
        (524, True),
        (503, False),
        (529, False),
        (408, False),
        (429, False),
        (400, False),
        (401, False),
        (404, False),
    ],
)
def test_what_may_have_been_read_counts_against_the_cap(status: int, sent: bool) -> None:
    assert read_failure(status, {}, b"").sent is sent


def test_an_error_that_is_nested_beyond_measure_is_still_an_error() -> None:
    assert read_failure(500, {}, b"[" * 200_000).fault is Fault.BUSY


@contextmanager
def saying(*parts: bytes, pause_seconds: float = 0.0) -> Iterator[str]:
    """Serve one connection that answers these bytes, with a pause between them, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError), server.accept()[0] as caller:
                caller.recv(1 << 16)
                for part in parts:
                    caller.sendall(part)
                    time.sleep(pause_seconds)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/v1/"
        finally:
            thread.join()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9000\r\n"


@pytest.mark.parametrize(
    ("parts", "pause_seconds", "says"),
    [
        ([HEAD + b"\r\n", *[b" "] * 30], 0.1, "no answer within 1 s"),  # never silent for long
        ([HEAD + b"\r\n{"], 0.0, "the connection broke"),
        ([HEAD[:30]], 0.0, "the connection broke"),
        ([b""], 0.0, "the connection broke"),
        ([b"220 mail.example.org ready\r\n"], 0.0, "the connection broke"),
        (
            [HEAD.replace(b"9000", b"4") + b"Content-Encoding: gzip\r\n\r\nnone"],
            0.0,
            "the connection broke",
        ),
    ],
)
def test_an_answer_that_does_not_end_well_counts_as_sent(
    parts: list[bytes], pause_seconds: float, says: str
) -> None:
    with (
        saying(*parts, pause_seconds=pause_seconds) as url,
        httpx.Client(base_url=url, timeout=1.0) as client,
    ):
        failure = post(client, Ask("m", 2, False, 1.0), ["text"], None)
    assert isinstance(failure, Failure)
    assert (failure.fault, failure.sent) == (Fault.BUSY, True)
    assert says in failure.reason


def test_no_second_request_is_made_where_a_redirect_points_to() -> None:
    content = b"HTTP/1.1 307 Moved\r\nContent-Length: 0\r\nLocation: {}\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.setblocking(False)
        there = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/v1/embeddings".encode()
        with saying(content.replace(b"{}", there)) as url, httpx.Client(base_url=url) as client:
            failure = post(client, Ask("m", 2, False, 5.0), ["text"], None)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()
    assert isinstance(failure, Failure)
    assert failure.fault is Fault.UNKNOWN
    assert there.decode() in failure.reason
