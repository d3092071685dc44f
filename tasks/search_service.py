"""A search service over HTTP, as a client sees it. One object is one kept connection."""

from __future__ import annotations

import http.client
import json
import time
from types import TracebackType
from urllib.parse import urlencode, urlsplit

from qafila.core.judged import Answer
from qafila.errors import Unavailable

TIMEOUT_SECONDS = 10.0


class SearchService:
    """``GET /search?q=…&k=…[&mode=…]`` and ``GET /health``; for one thread at a time."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_SECONDS) -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
        self._path = parts.path

    def __enter__(self) -> SearchService:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def ask(self, text: str, k: int, mode: str | None = None) -> Answer:
        """Ask one question. What is not a 200 with a list of results is an error, not a bad answer.

        ``ms`` is from before the request is sent to after the last byte is read.
        """
        values = {"q": text, "k": k} | ({} if mode is None else {"mode": mode})
        started = time.perf_counter()
        try:
            status, body = self._get(f"/search?{urlencode(values)}")
            ms = (time.perf_counter() - started) * 1000
            if status != 200:
                return Answer(None, ms)
            return Answer(tuple(str(r["id"]) for r in json.loads(body)["results"]), ms)
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
            self._connection.close()
            return Answer(None, (time.perf_counter() - started) * 1000)

    def generation(self) -> int | None:
        """Return the generation that the service says it serves; None when it does not say.

        Raises:
            Unavailable: it does not answer, or says that it is not well.
        """
        try:
            status, body = self._get("/health")
            found = json.loads(body) if status == 200 else {}
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._connection.close()
            raise Unavailable(
                f"the service {self.url} does not answer: {error}.",
                kept="everything; nothing was measured.",
                remedy="start it, or mend its address in the workload file; then: qafila doctor",
            ) from error
        if status != 200:
            raise Unavailable(
                f"the service {self.url} says {status} to /health: {body[:200].decode()}",
                kept="everything; nothing was measured.",
                remedy="qafila doctor",
            )
        number = found.get("generation") if isinstance(found, dict) else None
        return number if isinstance(number, int) else None

    def _get(self, path: str) -> tuple[int, bytes]:
        self._connection.request("GET", self._path + path)
        response = self._connection.getresponse()
        return response.status, response.read()
