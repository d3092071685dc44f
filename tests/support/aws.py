"""A real moto server for tests, started once where it is asked for and stopped by its own id."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import boto3
import botocore.session
from botocore.awsrequest import AWSResponse

from benchmarks.aws_answers import Protocol, protocol_of, signing_service, spelled
from qafila.demo.estate import Estate
from qafila.stack import moto


@contextmanager
def running_moto() -> Iterator[str]:
    """Yield the address of an empty moto server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        moto.command(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while not moto.healthy(url):
            assert process.poll() is None, "the moto server ended before it answered"
            assert time.monotonic() < deadline, "the moto server did not answer within 60 s"
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)


def session_with(access_key_id: str, secret_access_key: str, region: str) -> Any:
    """Return a session of its own that reads no service's description a second time.

    A session on its own reads them anew from disk: a tenth of a second, more for the large ones.
    """
    core, loader = botocore.session.Session(), _descriptions()
    core.register_component("data_loader", loader)
    paths = len(loader.search_paths)
    made = boto3.Session(access_key_id, secret_access_key, None, region, core)
    del loader.search_paths[paths:]  # its own folder, named once more by each session
    return made


@cache
def _descriptions() -> Any:
    return botocore.session.Session().get_component("data_loader")


def session_of(estate: Estate) -> Any:
    """Return a session with the keys of the estate's read-only reader."""
    return session_with(estate.access_key_id, estate.secret_access_key, estate.regions[0])


class _Body:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self._content


Answer = tuple[int, bytes] | tuple[int, bytes, dict[str, str]]


def answering(session: Any, answer: Callable[[Any], Answer | None]) -> Any:
    """Let ``answer`` speak for the service; where it returns None the real server is asked.

    An answer is status, body and, where they matter, headers.
    """

    def intercept(request: Any, **_: object) -> AWSResponse | None:
        spoken = answer(request)
        if spoken is None:
            return None
        headers = spoken[2] if len(spoken) == 3 else {}
        return AWSResponse(request.url, spoken[0], headers, _Body(spoken[1]))

    session.events.register("before-send", intercept)
    return session


def saying(status: int, code: str) -> Callable[[Any], Answer]:
    """Return an answer to any request: an error as its protocol spells it."""
    return lambda request: spelled(protocol_of_request(request), status, code)


def protocol_of_request(request: Any) -> Protocol:
    """Return the protocol of a request that botocore is about to send."""
    headers = {name.lower(): _text(value) for name, value in request.headers.items()}
    return protocol_of(signing_service(headers.get("authorization", "")), headers)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
