"""A Kubernetes HTTPRoute (Gateway API v1): weights of the backends of one of its rules.

The version is an annotation on the route, in the same object as the weights. An update carries the
``resourceVersion`` that was read, so that the API server refuses it after anybody else's: then the
route is read again, and an older epoch finds itself overtaken. Nothing else of the route changes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import kubernetes
import urllib3

from qafila.errors import BadInput, Refused, Unavailable
from qafila.routers.envoy.config import parse_version, version_text
from qafila.routers.gateway_api.objects import (
    ANNOTATION,
    problems_of,
    said,
    unaccepted,
    version_of,
    weights_of,
    with_weights,
)
from qafila.routers.port import Abilities, Request, RouterState
from qafila.routers.sight import LogSight, observed_in
from qafila.routers.weights import (
    CopiesNothing,
    configured,
    following,
    ours,
    require_epoch,
    require_weights,
    shares,
)
from qafila.workload.router import GatewayApiRouter as Settings

PAGE = "docs/how-to/canary-on-kubernetes.md"
_KIND = {"group": "gateway.networking.k8s.io", "version": "v1", "plural": "httproutes"}
_POLL_S = 0.1
_TRIES = 8


class _NoRoute(Unavailable):
    """There is no such route: wrong input where a workload is applied, else something is gone."""


class GatewayApiRouter(CopiesNothing):
    """One rule of one HTTPRoute; ``client`` is a ``kubernetes.client.ApiClient``."""

    def __init__(self, settings: Settings, client: Any, timeout_s: float = 10.0) -> None:
        self._settings = settings
        self._client = client
        self._api: Any = kubernetes.client.CustomObjectsApi(client)
        self._timeout = (min(3.0, timeout_s), timeout_s)
        self._arms = {
            settings.candidate_backend: "candidate",
            settings.baseline_backend: "baseline",
            **({settings.twin_backend: "twin"} if settings.twin_backend else {}),
        }

    @property
    def name(self) -> str:
        return self._settings.block

    @property
    def listen_url(self) -> str:
        return self._settings.entry_url.rstrip("/")

    @cached_property
    def abilities(self) -> Abilities:
        seen = self._settings.log is not None
        return Abilities(
            requests=seen,
            twin=self._settings.twin_backend is not None,
            mirror=False,
            blind=(
                "a gateway says that it accepted a route, not that each of its proxies uses it",
                "weights are of requests: a user meets both arms unless the gateway keeps sessions",
                "open streams go on at the arm that took them",
                *(LogSight.blind if seen else ("single requests: the Gateway API shows none",)),
            ),
        )

    def close(self) -> None:
        """Close the connections to the API server."""
        self._client.close()

    def software_version(self) -> str | None:
        """Return the version of the cluster; None when it does not answer."""
        try:
            with self._calling("tell its version"):
                code = kubernetes.client.VersionApi(self._client).get_code(
                    _request_timeout=self._timeout
                )
        except (Unavailable, Refused):
            return None
        return f"kubernetes {code.git_version}"

    def install(self) -> RouterState:
        """Check route, rule and backends, and take the rule over at weight 0.

        What was installed already keeps its weights.

        Raises:
            BadInput: naming every problem: an unknown route, rule or backend, a backend that the
                gateway cannot resolve, traffic on the candidate that Qafila did not send.
            Refused: the account may not read or write the route.
            Unavailable: the API server does not answer.
        """
        try:
            route = self._read_route()
        except _NoRoute as error:
            raise BadInput(error.what, remedy=error.remedy) from error
        problems = problems_of(route, self._settings, self._arms)
        if problems:
            raise BadInput(
                f"the HTTPRoute {self._place} cannot carry weights:",
                problems,
                remedy="change service.router in the workload file or the route, then: "
                "qafila apply FILE",
            )
        if version_of(route) is not None:
            return self._state(route)
        version = version_text(0, 1, 0)
        self._replace(with_weights(route, self._settings.rule, self._weights(version), version))
        return RouterState(0, 0, version)

    def read(self) -> RouterState:
        """Return the weights of the rule, under the version of the annotation.

        Raises:
            Unavailable: there is no route or no version of ours, or the API server does not answer.
        """
        return self._state(self._read_route())

    def reported(self) -> RouterState | None:
        """Return the weights that every gateway of the route has accepted; None without that."""
        try:
            route = self._read_route()
            state = self._state(route)
        except Unavailable:
            return None
        return state if ours(state) and unaccepted(route) is None else None

    def write(
        self,
        candidate_percent: int,
        *,
        epoch: int,
        why: str,
        twin_percent: int = 0,
        mirror_percent: int = 0,
    ) -> str:
        """Change weights and version in one update; return the version to wait for.

        Raises:
            BadInput: weights that do not fit or that the route cannot carry.
            StaleEpoch: a newer epoch has written already.
            Refused: the account may not change the route.
            Unavailable: the API server does not answer, or others change the route all the time.
        """
        require_weights(self.name, self.abilities, candidate_percent, twin_percent, mirror_percent)
        for _ in range(_TRIES):
            route = self._read_route()
            require_epoch(self.name, self._state(route), epoch)
            version = following(str(version_of(route)), epoch, candidate_percent, twin_percent)
            changed = with_weights(route, self._settings.rule, self._weights(version), version)
            if self._replace(changed):
                return version
        raise Unavailable(
            f"router {self.name}: {_TRIES} times somebody else changed {self._place} meanwhile.",
            kept="the route as it is.",
            remedy="find what keeps changing it (kubectl get httproute -o yaml: managedFields)",
        )

    def acknowledged(self, version: str, *, timeout_s: float = 5.0) -> float:
        """Wait until every gateway of the route accepts this version; return the seconds.

        Accepted means: the conditions Accepted and ResolvedRefs are True for the generation that
        carries these weights. Whether each proxy routes by it is not told by the Gateway API.

        Raises:
            Unavailable: they do not within the time; says what they say instead.
        """
        started = time.monotonic()
        while True:
            route = self._read_route()
            stored = version_of(route)
            state = None if stored is None else self._state(route)
            if state is None or state.version != version:
                problem = f"the route holds {state.version if state else 'no version of ours'}"
            else:
                found = unaccepted(route)
                if found is None:
                    return time.monotonic() - started
                problem = found
            if time.monotonic() - started > timeout_s:
                raise Unavailable(
                    f"router {self.name} did not take {version} within {timeout_s:g} s: {problem}.",
                    kept="the route as it is.",
                    remedy=f"kubectl describe httproute {self._settings.route} "
                    f"--namespace {self._settings.namespace}",
                )
            time.sleep(_POLL_S)

    def observed(self, cursor: int | None) -> tuple[Sequence[Request], int]:
        """Return requests of the log that the operator named; without one there are none."""
        return observed_in(self._settings.log, cursor)

    # -- the route -----------------------------------------------------------------------------

    @property
    def _place(self) -> str:
        return f"{self._settings.namespace}/{self._settings.route}"

    def _weights(self, version: str) -> dict[str, int]:
        """Return the weight of each backend."""
        percent = shares(parse_version(version)[0])
        return {backend: percent[arm] for backend, arm in self._arms.items()}

    def _state(self, route: Mapping[str, Any]) -> RouterState:
        stored = version_of(route)
        if stored is None:
            raise Unavailable(
                f"router {self.name}: {self._place} has no weights of Qafila yet ({ANNOTATION}).",
                kept="nothing was touched.",
                remedy="qafila apply FILE",
            )
        try:
            parse_version(stored)
        except ValueError as error:
            raise Unavailable(
                f"the annotation {ANNOTATION} of {self._place} is not one that Qafila wrote: "
                f"{stored!r}",
                kept="the route.",
                remedy="take the annotation away, then: qafila apply FILE",
            ) from error
        weights = weights_of(route, self._settings.rule)
        return configured(stored, {self._arms.get(name, name): w for name, w in weights.items()})

    def _read_route(self) -> dict[str, Any]:
        with self._calling(f"read {self._place}"):
            try:
                found: dict[str, Any] = self._api.get_namespaced_custom_object(
                    **_KIND,
                    namespace=self._settings.namespace,
                    name=self._settings.route,
                    _request_timeout=self._timeout,
                )
            except kubernetes.client.ApiException as error:
                if error.status != 404:
                    raise
                raise _NoRoute(
                    f"there is no HTTPRoute {self._place}, or the cluster has no Gateway API v1: "
                    f"{said(error)}",
                    remedy="name an existing one in service.router, then: qafila apply FILE",
                ) from error
        return found

    def _replace(self, route: dict[str, Any]) -> bool:
        """Update the route as it was read; False where somebody changed it since."""
        with self._calling(f"change {self._place}"):
            try:
                self._api.replace_namespaced_custom_object(
                    **_KIND,
                    namespace=self._settings.namespace,
                    name=self._settings.route,
                    body=route,
                    field_manager="qafila",
                    _request_timeout=self._timeout,
                )
            except kubernetes.client.ApiException as error:
                if error.status == 409:
                    return False
                if error.status != 422:
                    raise
                raise BadInput(f"the cluster refuses the route {self._place}: {said(error)}") from (
                    error
                )
        return True

    @contextmanager
    def _calling(self, doing: str) -> Iterator[None]:
        """Turn what the client raises inside into ours."""
        try:
            yield
        except kubernetes.client.ApiException as error:
            if error.status in (401, 403):
                raise Refused(
                    f"router {self.name}: the cluster does not let this account {doing}: "
                    f"{said(error)}",
                    kept="the route.",
                    remedy=f"give the account the role in {PAGE}",
                ) from error
            raise Unavailable(
                f"router {self.name}: the cluster did not {doing} ({error.status}): {said(error)}",
                kept="the route.",
                remedy="qafila status",
            ) from error
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(
                f"router {self.name}: the API server does not answer when asked to {doing}: "
                f"{type(error).__name__}.",
                kept="the route.",
                remedy="check the cluster's connection (qafila-kubernetes), then run it again.",
            ) from error
