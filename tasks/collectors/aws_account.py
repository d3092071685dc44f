"""One region of one AWS account, read only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from qafila.core.estate import Outcome, outcome_of_error
from tasks.collectors.port import Look


@dataclass(frozen=True)
class Limits:
    """How far a collector goes. Retries: the SDK's standard mode, in this one layer."""

    pages: int = 200
    attempts: int = 5
    timeout_s: float = 20.0


class Account(Look):
    """One region of one account, read only. Counts every request that leaves, retries included."""

    def __init__(
        self,
        session: Any,
        region: str,
        *,
        endpoint_url: str | None = None,
        limits: Limits = Limits(),
    ) -> None:
        super().__init__(region)
        self._session = session
        self._endpoint_url = endpoint_url
        self._limits = limits

    def client(self, service: str, region: str | None = None) -> Any:
        """Return a client of one service in this region, or in another one."""
        client = self._session.client(
            service,
            region_name=region or self.region,
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
        """Yield the items under ``key`` of all pages, up to the page limit; says when it stops.

        ``key`` may lead into a structure: ``DistributionList.Items``.
        """
        if not client.can_paginate(operation):
            yield from _under(getattr(client, operation)(**parameters), key)
            return
        pages = iter(client.get_paginator(operation).paginate(**parameters))
        for _ in range(self._limits.pages):
            page = next(pages, None)
            if page is None:
                return
            yield from _under(page, key)
        if next(pages, None) is not None:
            where = "".join(f" {v}" for v in parameters.values() if isinstance(v, str))
            self.missed(
                Outcome.TRUNCATED, f"{operation}{where} has more than {self._limits.pages} pages"
            )

    def outcome_of(self, error: Exception) -> tuple[Outcome, str] | None:
        if isinstance(error, ClientError):
            details = error.response.get("Error", {})
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            code = str(details.get("Code", ""))
            return outcome_of_error(code, status), f"{error.operation_name} said {code}"
        if isinstance(error, BotoCoreError | ResponseParserError):
            return Outcome.UNSUPPORTED, f"no usable answer ({type(error).__name__})"
        return None

    def _count(self, **_: Any) -> None:
        self.calls += 1


def _under(page: Any, key: str) -> list[Any]:
    *structures, last = key.split(".")
    for structure in structures:
        page = page.get(structure, {})
    return page.get(last) or []


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
