"""Running one collector against a moto server, and looking at what it saw."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from qafila.audit.collectors import COLLECTORS, Account, Limits
from qafila.audit.collectors.pace import Pacing
from qafila.audit.estate import Collected, Resource
from tests.support.aws import answering, session_with

REGION = "eu-west-3"
ACCOUNT = "123456789012"  # moto's own
TAGS = {"app": "shop", "owner": "shop@example.org"}
PAIRS = [{"Key": k, "Value": v} for k, v in TAGS.items()]
LOWER_PAIRS = [{"key": k, "value": v} for k, v in TAGS.items()]
NOWHERE = "http://127.0.0.1:1"  # nobody answers there: all that is said is told


def session() -> Any:
    """Return a session of whoever: a moto server asks nobody for a key unless it is told to."""
    return session_with("testing", "testing", REGION)


class World:
    """One moto server, empty unless a test file seeds it, and clients of it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """Return the client of this service, in the region that is read; made once."""
        if service not in self._clients:
            self._clients[service] = session().client(service, endpoint_url=self.url)
        return self._clients[service]


def seen_by(
    name: str, url: str, *, with_session: Any = None, limits: Limits | None = None
) -> Collected:
    """Return what the collector of this name sees."""
    collector = next(c for c in COLLECTORS if c.name == name)
    return collector.collect(
        Account(
            with_session or session(),
            REGION,
            endpoint_url=url,
            limits=limits or Limits(attempts=1),
            pacing=Pacing(sleep=lambda _: None),
        )
    )


def kinds(collected: Collected) -> dict[str, dict[str, Resource]]:
    """Return resources by kind, then by name."""
    found: dict[str, dict[str, Resource]] = {}
    for resource in collected.resources:
        found.setdefault(resource.kind, {})[resource.name] = resource
    return found


def edges(collected: Collected, kind: str) -> set[tuple[str, str]]:
    """Return both ends of every edge of a kind."""
    return {(e.from_id, e.to_id) for e in collected.edges if e.kind == kind}


Answer = dict[str, Any] | bytes | tuple[int, bytes] | None


def told(answer: Callable[[Any], Answer]) -> Any:
    """Return a session whose service says what ``answer`` returns: a dictionary, or bytes.

    None: the real server is asked.
    """

    def speak(request: Any) -> tuple[int, bytes] | None:
        spoken = answer(request)
        if isinstance(spoken, dict):
            return 200, json.dumps(spoken).encode()
        return (200, spoken) if isinstance(spoken, bytes) else spoken

    return answering(session(), speak)


def operation_of(request: Any) -> str:
    """Return the operation that a request of a JSON protocol asks for."""
    target = request.headers.get("X-Amz-Target", b"")
    return str(target.decode() if isinstance(target, bytes) else target).rsplit(".", 1)[-1]
