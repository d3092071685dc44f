"""One Kubernetes cluster, read only: lists by page, and what it does not let us see.

Lists are asked for the whole cluster first; where that is forbidden, namespace by namespace, and
each one that stays closed is named. Only ``list`` is needed of nine kinds, never of secrets or
config maps. The official client is an extra of this package: it is touched by the given client
alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from qafila.audit.collectors.pace import Pacing
from qafila.audit.collectors.port import Look
from qafila.audit.estate import AS_ASKED, Outcome, outcome_of_error
from qafila.embedders.request_rate import DEFAULT, Rate

Object = dict[str, Any]
RATES = {DEFAULT: Rate(5, 10, source="client-go: QPS and Burst of a client that sets none")}
_NAMED = 20  # namespaces of one kind that stay closed; the others are counted


@dataclass(frozen=True)
class Listing:
    """How one kind is listed: its API class, and its methods for the cluster and a namespace."""

    api: str
    everywhere: str
    in_namespace: str | None = None


def _namespaced(api: str, kind: str) -> Listing:
    return Listing(api, f"list_{kind}_for_all_namespaces", f"list_namespaced_{kind}")


KINDS = {
    "namespaces": Listing("CoreV1Api", "list_namespace"),
    "nodes": Listing("CoreV1Api", "list_node"),
    "persistentvolumes": Listing("CoreV1Api", "list_persistent_volume"),
    "storageclasses": Listing("StorageV1Api", "list_storage_class"),
    "deployments": _namespaced("AppsV1Api", "deployment"),
    "statefulsets": _namespaced("AppsV1Api", "stateful_set"),
    "daemonsets": _namespaced("AppsV1Api", "daemon_set"),
    "jobs": _namespaced("BatchV1Api", "job"),
    "cronjobs": _namespaced("BatchV1Api", "cron_job"),
    "pods": _namespaced("CoreV1Api", "pod"),
    "services": _namespaced("CoreV1Api", "service"),
    "ingresses": _namespaced("NetworkingV1Api", "ingress"),
    "persistentvolumeclaims": _namespaced("CoreV1Api", "persistent_volume_claim"),
}


@dataclass(frozen=True)
class ClusterLimits:
    """How far one list goes, and how often a call that was throttled is tried."""

    pages: int = 200
    page_size: int = 500
    attempts: int = 3
    timeout_s: float = 20.0
    longest_wait_s: float = 10.0


class _NoList(Exception):
    """The server answered, but not with a list."""


class Cluster(Look):
    """One cluster. ``client`` is a ``kubernetes.client.ApiClient`` that does not repeat calls.

    ``namespaces``: look into these alone; empty: into all. ``pacing``: None: a bucket of its own.
    """

    def __init__(
        self,
        client: Any,
        name: str,
        *,
        namespaces: Sequence[str] = (),
        limits: ClusterLimits = ClusterLimits(),
        pacing: Pacing | None = None,
    ) -> None:
        super().__init__(name)
        self.name = name
        self._client = client
        self._named = tuple(namespaces)
        self._limits = limits
        self._pacing = Pacing(RATES, share=1) if pacing is None else pacing

    def identifier(self, kind: str, namespace: str, name: str) -> str:
        """Return the id of an object: unique among clusters of different names."""
        place = f"{namespace}/" if namespace else ""
        return f"kubernetes:{self.name}/{place}{kind}/{name}"

    def namespaces(self) -> list[str]:
        """Return the names to look into, in order; those given, else those of the cluster."""
        return list(self._named) or sorted(
            {str(n["metadata"]["name"]) for n in self._pages("namespaces", "")}
        )

    def objects(self, kind: str) -> Iterator[Object]:
        """Yield the objects of one of :data:`KINDS`; one may come twice when a list began anew."""
        listing = KINDS[kind]
        if self._named and (listing.in_namespace or kind == "namespaces"):
            rest = len(self._named) - _NAMED
            asked = ", ".join(self._named[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
            what = "namespace" if len(self._named) == 1 else "the namespaces"
            self.missed(Outcome.COMPLETE, f"looked only into {what} {asked}{AS_ASKED}")
        if kind == "namespaces" and self._named:
            yield from ({"metadata": {"name": name}} for name in self._named)
            return
        if listing.in_namespace is None or not self._named:
            try:
                yield from self._pages(kind, "")
                return
            except Exception as error:
                if listing.in_namespace is None or getattr(error, "status", None) != 403:
                    raise
        closed: dict[tuple[Outcome, str], list[str]] = {}
        for namespace in self.namespaces():
            try:
                yield from self._pages(kind, namespace)
            except Exception as error:
                told = self.outcome_of(error)
                if told is None:
                    raise
                closed.setdefault(told, []).append(namespace)
        for (outcome, said), names in closed.items():
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            self.missed(outcome, said, f"{kind} in namespace {', '.join(names[:_NAMED])}{more}")

    def missed(self, outcome: Outcome, why: str, what: str = "") -> None:
        """Note each kind that could not be seen: there are few, so none is only counted."""
        super().missed(outcome, f"{what}: {why}" if what else why)

    def outcome_of(self, error: Exception) -> tuple[Outcome, str] | None:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        if isinstance(error, ApiException):
            said = f"the API server said {error.status} {error.reason or ''}".rstrip()
            return outcome_of_error("", error.status), said
        if isinstance(error, _NoList):
            return Outcome.UNSUPPORTED, str(error)
        if isinstance(error, HTTPError):
            return Outcome.UNSUPPORTED, f"no usable answer ({type(error).__name__})"
        return None

    def _pages(self, kind: str, namespace: str) -> Iterator[Object]:
        """Yield one list's items; from the start again, once, when its snapshot expired."""
        where = f"{kind} in namespace {namespace}" if namespace else kind
        token, again, pages = "", False, 0
        while True:
            if pages == self._limits.pages:
                self.missed(Outcome.TRUNCATED, f"{where} has more than {pages} pages")
                return
            try:
                page = self._ask(kind, namespace, token)
            except Exception as error:
                if not token or getattr(error, "status", None) != 410:
                    raise
                if again:
                    self.missed(Outcome.TRUNCATED, f"{where}: the list expired twice (410 Gone)")
                    return
                token, again, pages = "", True, 0
                continue
            pages += 1
            yield from page["items"]
            token = str(page["metadata"].get("continue") or "")
            if not token:
                return

    def _ask(self, kind: str, namespace: str, token: str) -> Any:
        import kubernetes.client

        listing = KINDS[kind]
        api = getattr(kubernetes.client, listing.api)(self._client)
        name = listing.in_namespace if namespace else listing.everywhere
        assert name is not None
        given: dict[str, Any] = {"namespace": namespace} if namespace else {}
        if token:
            given["_continue"] = token
        for left in reversed(range(self._limits.attempts)):
            self.calls += 1
            self._pacing.wait("", self.name, "kubernetes", "list")
            try:
                answer = getattr(api, name)(
                    **given,
                    limit=self._limits.page_size,
                    _preload_content=False,
                    _request_timeout=self._limits.timeout_s,
                )
            except kubernetes.client.ApiException as error:
                if error.status != 429:
                    raise
                asked = min(_hint(error), self._limits.longest_wait_s)
                self._pacing.refused("", self.name, "kubernetes", "list", asked)
                if not left:
                    raise
            else:
                self._pacing.answered("", self.name, "kubernetes", "list")
                return _list_of(answer.data)
        raise AssertionError("at least one attempt is made")


def _hint(error: Any) -> float:
    """Return the seconds of ``Retry-After``; 1 without a usable one."""
    said = str((error.headers or {}).get("Retry-After", ""))
    return float(said) if said.isdecimal() else 1.0


def _list_of(content: bytes) -> Any:
    """Return a list whose every item has a name, as the API conventions promise."""
    try:
        page = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _NoList("the answer is not JSON") from error
    if not isinstance(page, dict) or not isinstance(page.get("metadata"), dict):
        raise _NoList("the answer is not a list of objects")
    page["items"] = page.get("items") or []  # an empty list may arrive as null
    if not all(
        isinstance(i, dict) and (i.get("metadata") or {}).get("name") for i in page["items"]
    ):
        raise _NoList("the answer has objects without a name")
    return page
