"""The port of all collectors: read one service in one region, and say what was not seen.

A collector calls :class:`Account`, adds what it finds to ``found`` and ``edges``, and never
catches an error itself: a refused call becomes an outcome here, and what was read before it is
kept. Absence of permission is never absence of resources.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from qafila.core.audit import (
    Collected,
    Edge,
    Outcome,
    Resource,
    outcome_of_error,
    worst_outcome,
)


@dataclass(frozen=True)
class Limits:
    """How far a collector goes. Retries: the SDK's standard mode, in this one layer."""

    pages: int = 200
    attempts: int = 5
    timeout_s: float = 20.0


class Account:
    """One region of one account, read only. Counts every request that leaves, retries included."""

    def __init__(
        self, session: Any, region: str, *, endpoint_url: str | None, limits: Limits
    ) -> None:
        self.region = region
        self.found: list[Resource] = []
        self.edges: list[Edge] = []
        self.calls = 0
        self._session = session
        self._endpoint_url = endpoint_url
        self._limits = limits
        self._gaps: list[tuple[Outcome, str]] = []

    def client(self, service: str) -> Any:
        """Return a client of one service in this region."""
        client = self._session.client(
            service,
            region_name=self.region,
            endpoint_url=self._endpoint_url,
            config=Config(
                retries={"mode": "standard", "max_attempts": self._limits.attempts},
                connect_timeout=5,
                read_timeout=self._limits.timeout_s,
            ),
        )
        client.meta.events.register("before-sign", _sign_the_payload)
        client.meta.events.register_first("before-send", self._count)
        return client

    def pages(self, client: Any, operation: str, key: str, **parameters: Any) -> Iterator[Any]:
        """Yield the items under ``key`` of all pages, up to the page limit; says when it stops."""
        if not client.can_paginate(operation):
            yield from getattr(client, operation)(**parameters).get(key, [])
            return
        pages = iter(client.get_paginator(operation).paginate(**parameters))
        for _ in range(self._limits.pages):
            page = next(pages, None)
            if page is None:
                return
            yield from page.get(key, [])
        if next(pages, None) is not None:
            where = "".join(f" {v}" for v in parameters.values() if isinstance(v, str))
            self.missed(
                Outcome.TRUNCATED, f"{operation}{where} has more than {self._limits.pages} pages"
            )

    def missed(self, outcome: Outcome, what: str) -> None:
        """Note what could not be seen; the worst note decides the outcome."""
        self._gaps.append((outcome, what))

    @contextmanager
    def tolerating(self, what: str) -> Iterator[None]:
        """Go on with the next thing when ``what`` cannot be read; it is noted, never skipped."""
        try:
            yield
        except ClientError as error:
            details = error.response.get("Error", {})
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            code = str(details.get("Code", ""))
            self.missed(
                outcome_of_error(code, status), f"{what}: {error.operation_name} said {code}"
            )
        except (BotoCoreError, ResponseParserError) as error:
            self.missed(Outcome.UNSUPPORTED, f"{what}: no usable answer ({type(error).__name__})")

    def collected(self, name: str) -> Collected:
        """Return what was seen and how far that reaches."""
        return Collected(
            collector=name,
            region=self.region,
            outcome=worst_outcome(outcome for outcome, _ in self._gaps),
            resources=tuple({r.id: r for r in self.found}.values()),
            edges=tuple(dict.fromkeys(self.edges)),
            calls=self.calls,
            missed="; ".join(what for _, what in self._gaps),
        )

    def _count(self, **_: Any) -> None:
        self.calls += 1


@dataclass(frozen=True)
class Collector:
    """One registered collector; ``actions`` is what its read-only policy must allow."""

    name: str
    scope: Literal["region", "account"]
    actions: tuple[str, ...]
    read: Callable[[Account], None]

    def collect(
        self,
        session: Any,
        region: str,
        *,
        endpoint_url: str | None = None,
        limits: Limits | None = None,
    ) -> Collected:
        """Return what this collector sees in one region. Raises nothing that a service causes."""
        account = Account(session, region, endpoint_url=endpoint_url, limits=limits or Limits())
        with account.tolerating(self.name):
            self.read(account)
        collected = account.collected(self.name)
        if self.scope == "account":
            return Collected(
                collected.collector, "", collected.outcome, collected.resources, collected.edges,
                collected.calls, collected.missed,
            )  # fmt: skip
        return collected


def tags_of(pairs: list[dict[str, str]] | None) -> dict[str, str]:
    """Return tags as a mapping, whichever of the two AWS spellings they come in."""
    return {p.get("Key", p.get("key", "")): p.get("Value", p.get("value", "")) for p in pairs or []}


def _sign_the_payload(request: Any, **_: Any) -> None:
    """Send the payload's digest as a signed header, as S3 requires and every service accepts.

    A verifier that rebuilds a body-less request wrongly (moto does for REST services) then still
    arrives at our signature.
    """
    body = request.data or b""
    if isinstance(body, str):
        body = body.encode()
    if isinstance(body, bytes) and "X-Amz-Content-SHA256" not in request.headers:
        request.headers["X-Amz-Content-SHA256"] = hashlib.sha256(body).hexdigest()
