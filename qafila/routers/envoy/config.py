"""Build ``rds.json``, the routes that one Envoy watches: versions, weights, retries. Pure text.

The clusters that routes name are those of ``envoy_clusters``.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qafila.routers.envoy.arms import RouteSettings
from qafila.routers.port import RouterState

ARM_HEADER = "x-qafila-arm"  # a probe names its arm; without the token nobody does
TOKEN_HEADER = "x-qafila-probe-token"
KEY_HEADER = "x-qafila-key"
SERVED_HEADER = "x-qafila-served"
SHADOW_HEADER = "x-qafila-shadow"  # on copies only: a service can leave side effects out
PROBE = "probe-"

_VERSION = re.compile(r"^e(\d+)/(\d+)/(\d+)pct(?:\+twin(\d+))?(?:\+mirror(\d+))?$")
_TYPE = "type.googleapis.com/envoy."
_TOTAL = 10_000
_IDEMPOTENT = "GET|HEAD|OPTIONS"
_PROBED = ("baseline", "candidate")


def version_text(
    epoch: int,
    sequence: int,
    candidate_percent: int,
    twin_percent: int = 0,
    mirror_percent: int = 0,
) -> str:
    """Return the version that the router will acknowledge: epoch, change number, weights."""
    twin = f"+twin{twin_percent}" if twin_percent else ""
    mirror = f"+mirror{mirror_percent}" if mirror_percent else ""
    return f"e{epoch}/{sequence}/{candidate_percent}pct{twin}{mirror}"


def weight_problem(candidate_percent: int, twin_percent: int, mirror_percent: int) -> str | None:
    """Return what is wrong with weights, if anything; the same for every router."""
    weights = (candidate_percent, twin_percent, mirror_percent)
    if all(0 <= w <= 100 for w in weights) and sum(w > 0 for w in weights) <= 1:
        return None
    return (
        f"weights {candidate_percent} (candidate), {twin_percent} (twin) and {mirror_percent} "
        "(mirror) do not fit: each is 0 to 100, and only one of them is above 0."
    )


def parse_version(version: str) -> tuple[RouterState, int]:
    """Return the state that a version stands for, and its change number.

    Raises:
        ValueError: not a version of ours.
    """
    found = _VERSION.match(version)
    if found is None:
        raise ValueError(f"{version!r} is not a version that Qafila wrote")
    epoch, sequence, candidate, twin, mirror = (int(g or 0) for g in found.groups())
    return RouterState(candidate, epoch, version, twin, mirror), sequence


def probe_token(key: str, router: str, epoch: int) -> str:
    """Return what a probe sends along to choose its arm: it holds for one router and one epoch."""
    said = f"{router} {epoch}".encode()
    return hmac.new(bytes.fromhex(key), said, hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class Kept:
    """What is kept beside the routes: settings, and what the shadow had counted before."""

    settings: RouteSettings = field(default_factory=RouteSettings)
    shadow_from: Mapping[str, int] | None = None


def kept_beside(content: Mapping[str, Any]) -> Kept:
    """Return what ``routes`` kept in the content of an ``rds.json``; defaults where it did not."""
    for resource in content.get("resources", []):
        for host in resource.get("virtual_hosts", []):
            for route in host.get("routes", []):
                found = route.get("metadata", {}).get("filter_metadata", {}).get("qafila")
                if found:
                    counted = found.get("shadow_from")
                    return Kept(
                        RouteSettings.restored(found.get("settings")),
                        None if counted is None else {k: int(v) for k, v in counted.items()},
                    )
    return Kept()


def routes(
    version: str,
    why: str,
    settings: RouteSettings | None = None,
    shadow_from: Mapping[str, int] | None = None,
    token: str | None = None,
) -> dict[str, Any]:
    """Return the content of ``rds.json`` for a version (see ``version_text``).

    With a ``token``, a request that carries it chooses its arm by a header; without one, no request
    does. Services see neither header.

    The settings, and what the candidate's shadow had counted before, are kept beside the routes,
    so that another process can write the next weights, or say what became of the copies.

    Weights are out of 10 000. The candidate comes first, so that by the sticky key's hash the
    users of a smaller weight are among those of a larger one. At weight 0 it is not named at all.
    """
    state, _ = parse_version(version)
    settings = settings or RouteSettings()
    probes = [] if token is None else [_probe(arm, token, settings) for arm in _PROBED]
    kept = {"why": why, "settings": settings.stored()}
    if shadow_from is not None:
        kept["shadow_from"] = dict(shadow_from)
    note = {"filter_metadata": {"qafila": kept}}
    methods = _IDEMPOTENT + ("|POST" if settings.idempotent_posts else "")
    idempotent = {
        "name": "users-idempotent",
        "metadata": note,
        "match": {
            "prefix": "/",
            "headers": [{"name": ":method", "string_match": {"safe_regex": {"regex": methods}}}],
        },
        "route": {
            **_split(state, "candidate_safe", settings),
            "retry_policy": {**_RETRY, "per_try_timeout": f"{settings.per_try_s:g}s"},
            **_mirror(state.mirror_percent),
        },
    }
    others = {
        "name": "users",
        "metadata": note,
        "match": {"prefix": "/"},
        "route": _split(state, "candidate", settings),
    }
    return {
        "version_info": version,
        "resources": [
            {
                "@type": _TYPE + "config.route.v3.RouteConfiguration",
                "name": "main",
                "validate_clusters": True,
                "virtual_hosts": [
                    {
                        "name": "app",
                        "domains": ["*"],
                        "request_headers_to_remove": [SHADOW_HEADER, ARM_HEADER, TOKEN_HEADER],
                        "routes": [*probes, idempotent, others],
                    }
                ],
            }
        ],
    }


def _probe(arm: str, token: str, settings: RouteSettings) -> dict[str, Any]:
    wanted = {ARM_HEADER: arm, TOKEN_HEADER: token}
    return {
        "name": PROBE + arm,
        "match": {
            "prefix": "/",
            "headers": [{"name": k, "string_match": {"exact": v}} for k, v in wanted.items()],
        },
        "response_headers_to_add": [_served(PROBE + arm)],
        "route": {"cluster": arm, "timeout": f"{settings.whole_s:g}s"},
    }


# One more try, at the next priority of the aggregate cluster: that is the baseline.
_RETRY: Mapping[str, Any] = {
    "retry_on": "connect-failure,refused-stream,reset,retriable-status-codes",
    "retriable_status_codes": [500, 502, 503, 504],
    "num_retries": 1,
    "retry_priority": {
        "name": "envoy.retry_priorities.previous_priorities",
        "typed_config": {
            "@type": _TYPE
            + "extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            "update_frequency": 1,
        },
    },
}


def _split(state: RouterState, candidate_cluster: str, settings: RouteSettings) -> dict[str, Any]:
    shares = [
        (candidate_cluster, "candidate", state.candidate_percent),
        ("baseline_twin", "twin", state.twin_percent),
        ("baseline", "baseline", 100 - state.candidate_percent - state.twin_percent),
    ]
    return {
        # Beside a max_stream_duration Envoy 1.40 would not apply this, to users or to copies.
        "timeout": f"{settings.whole_s:g}s",
        "hash_policy": [{"header": {"header_name": KEY_HEADER}}],
        "weighted_clusters": {
            "use_hash_policy": True,
            "clusters": [
                {
                    "name": cluster,
                    "weight": percent * _TOTAL // 100,
                    "response_headers_to_add": [_served(arm)],
                }
                for cluster, arm, percent in shares
                if percent
            ],
        },
    }


def _mirror(percent: int) -> dict[str, Any]:
    if not percent:
        return {}
    fraction = {"numerator": percent, "denominator": "HUNDRED"}
    return {
        "request_mirror_policies": [
            {
                "cluster": "candidate_shadow",
                "runtime_fraction": {"default_value": fraction},
                "request_headers_mutations": [{"append": _header(SHADOW_HEADER, "1")}],
                "disable_shadow_host_suffix_append": True,
            }
        ]
    }


def _served(arm: str) -> dict[str, Any]:
    return _header(SERVED_HEADER, arm)


def _header(name: str, value: str) -> dict[str, Any]:
    return {
        "header": {"key": name, "value": value},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }
