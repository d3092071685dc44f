"""Ask an Envoy's admin address what it works with. Statistics answer in about 1 ms.

Measured against the configuration dump, 60 changes each (Envoy 1.40): the new version was seen
1.4 ms after the rename by statistics, 2.2 ms by the dump, which also grows with the routes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

import httpx

from qafila.connections.envoy import connect_envoy_admin
from qafila.errors import Unavailable

_POLL_S = 0.002
_ROUTES = "http.ingress.rds.main."
_SHADOW = "cluster.candidate_shadow.upstream_rq_"
_COUNTED = ("completed", "5xx", "504", "active_overflow", "pending_overflow")
_NOW = "active"


class Admin:
    """The admin address of one Envoy: TCP, or a Unix socket."""

    def __init__(self, name: str, url: str) -> None:
        self._name = name
        self._client = connect_envoy_admin(url)

    def close(self) -> None:
        self._client.close()

    def software_version(self) -> str | None:
        """Return Envoy's own version, for instance ``1.40.0``; None when it does not answer."""
        try:
            text = str(self._client.get("/server_info").json()["version"])
        except (httpx.HTTPError, ValueError, KeyError, RecursionError):
            return None
        parts = text.split("/")
        return parts[1] if len(parts) > 1 else text

    def routes(self, timeout_s: float = 2.0) -> tuple[str | None, int | None]:
        """Return the version of the routes in use and how often routes were refused so far.

        Both are None when Envoy does not answer.
        """
        found = self._stats(rf"^{_ROUTES}(version_text|update_rejected)$", timeout_s)
        if found is None:
            return None, None
        refused = found.get(_ROUTES + "update_rejected")
        return found.get(_ROUTES + "version_text"), None if refused is None else int(refused)

    def shadow_counts(self) -> dict[str, int] | None:
        """Return what Envoy has counted of the copies since it started; None: no answer.

        ``active`` is no count: it is how many are open now.
        """
        found = self._stats(f"^{_SHADOW}", 2.0)
        if found is None:
            return None
        return {name: int(found.get(_SHADOW + name, 0)) for name in (*_COUNTED, _NOW)}

    def await_version(self, stat: str, version: str, what: str, timeout_s: float = 5.0) -> None:
        """Wait for a running Envoy to take a file; return at once when none runs.

        Raises:
            Unavailable: it did not take it, or refused it.
        """
        end = time.monotonic() + timeout_s
        pattern = rf"^{stat}\.(version_text|update_rejected)$"
        before = None
        while True:
            found = self._stats(pattern, 2.0)
            if found is None or found.get(f"{stat}.version_text") == version:
                return
            refused = int(found.get(f"{stat}.update_rejected", 0))
            before = refused if before is None else before
            if time.monotonic() > end or refused > before:
                raise Unavailable(
                    f"router {self._name} did not take its {what} within {timeout_s:g} s.",
                    kept="the routes.",
                    remedy="qafila down, then qafila up (an Envoy older than these files); its own "
                    "log says why",
                )
            time.sleep(_POLL_S)

    def _stats(self, pattern: str, timeout_s: float) -> Mapping[str, str] | None:
        try:
            reply = self._client.get("/stats", params={"filter": pattern}, timeout=timeout_s)
            reply.raise_for_status()
        except httpx.HTTPError:
            return None
        lines = (line.partition(": ") for line in reply.text.splitlines())
        return {name: _unquoted(value.strip()) for name, _, value in lines}


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value.strip('"')
