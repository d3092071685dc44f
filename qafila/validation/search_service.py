"""A search service over HTTP, as a client sees it. One object is one kept connection."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from urllib.parse import urlencode, urlsplit

from qafila.errors import Unavailable
from qafila.validation.judged import Answer

TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Reply:
    """What came back, whatever its status."""

    status: int
    headers: Message
    body: bytes


class KeptConnection:
    """One connection to one service, kept as a browser keeps it; for one thread at a time."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_SECONDS) -> None:
        parts = urlsplit(url)
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
        self._path = parts.path.rstrip("/")

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        """Ask once; once more where the kept connection had been closed before it answered.

        Raises:
            OSError, http.client.HTTPException: there is no answer.
        """
        kept = self._connection.sock is not None
        try:
            return self._get(path, headers or {})
        except (http.client.RemoteDisconnected, ConnectionError):
            if not kept:
                raise
            return self._get(path, headers or {})

    def close(self) -> None:
        """Close the connection; the next question opens another one."""
        self._connection.close()

    def _get(self, path: str, headers: Mapping[str, str]) -> Reply:
        try:
            self._connection.request("GET", self._path + path, headers=dict(headers))
            response = self._connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        except (OSError, http.client.HTTPException):
            self.close()  # what is left of the answer must not become the next one's
            raise


class SearchService:
    """``GET /search?q=…&k=…[&mode=…]`` and ``GET /health``; for one thread at a time.

    ``headers`` go with every question, for instance those that ask a router for one arm. With
    ``served``, an answer counts only where its ``x-qafila-served`` says the same.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = TIMEOUT_SECONDS,
        headers: Mapping[str, str] | None = None,
        served: str | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._headers = dict(headers or {})
        self._served = served
        self._connection = KeptConnection(self.url, timeout_s=timeout_s)

    def __enter__(self) -> SearchService:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self, text: str, k: int, mode: str | None = None) -> Answer:
        """Ask one question. What is not a 200 with a list of results is an error, not a bad answer.

        ``ms`` is from before the request is sent to after the last byte is read.
        """
        values = {"q": text, "k": k} | ({} if mode is None else {"mode": mode})
        started = time.perf_counter()
        try:
            reply = self._connection.get(f"/search?{urlencode(values)}", self._headers)
            ms = (time.perf_counter() - started) * 1000
            another = self._served not in (None, reply.headers.get("x-qafila-served"))
            if reply.status != 200 or another:
                return Answer(None, ms)
            return Answer(tuple(str(r["id"]) for r in json.loads(reply.body)["results"]), ms)
        except (
            OSError,
            http.client.HTTPException,
            ValueError,
            KeyError,
            TypeError,
            RecursionError,
        ):
            return Answer(None, (time.perf_counter() - started) * 1000)

    def generation(self) -> int | None:
        """Return the generation that the service says it serves; None when it does not say.

        Raises:
            Unavailable: it does not answer, or says that it is not well.
        """
        try:
            reply = self._connection.get("/health")
            found = json.loads(reply.body) if reply.status == 200 else {}
        except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
            raise Unavailable(
                f"the service {self.url} does not answer: {error}.",
                kept="everything; nothing was measured.",
                remedy="start it, or mend its address in the workload file; then: qafila doctor",
            ) from error
        if reply.status != 200:
            raise Unavailable(
                f"the service {self.url} says {reply.status} to /health: "
                f"{reply.body[:200].decode(errors='replace')}",
                kept="everything; nothing was measured.",
                remedy="qafila doctor",
            )
        number = found.get("generation") if isinstance(found, dict) else None
        return number if isinstance(number, int) else None
