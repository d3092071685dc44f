"""Build the two files that one Envoy watches: clusters and routes. Pure text, no input or output.

Clusters: ``baseline``, its second name ``baseline_twin`` (for the A/A bake), ``candidate``, and
``candidate_safe``, which is the candidate with the baseline behind it: a request that the
candidate fails is asked again of the baseline, on routes that may be asked twice.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from qafila.errors import BadInput
from tasks.routers.port import RouterState

ARM_HEADER = "x-qafila-arm"
KEY_HEADER = "x-qafila-key"
SERVED_HEADER = "x-qafila-served"
PROBE = "probe-"

_VERSION = re.compile(r"^e(\d+)/(\d+)/(\d+)pct(?:\+twin(\d+))?(?:\+mirror(\d+))?$")
_TYPE = "type.googleapis.com/envoy."
_TOTAL = 10_000
_IDEMPOTENT = "GET|HEAD|OPTIONS"


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


def clusters(baseline_url: str, candidate_url: str) -> dict[str, Any]:
    """Return the content of ``cds.json``.

    Raises:
        BadInput: an address that is not plain ``http://host[:port]``.
    """
    addresses = {"baseline": baseline_url, "candidate": candidate_url}
    problems = [p for name, url in addresses.items() if (p := _problem(name, url))]
    if problems:
        raise BadInput(
            "Envoy cannot route to these addresses:",
            problems,
            remedy="write them as http://host:port in the workload file, then: qafila apply FILE",
        )
    return {
        "version_info": f"{baseline_url} {candidate_url}",
        "resources": [
            _cluster("baseline", baseline_url),
            _cluster("baseline_twin", baseline_url),
            _cluster("candidate", candidate_url),
            {
                "@type": _TYPE + "config.cluster.v3.Cluster",
                "name": "candidate_safe",
                "connect_timeout": "0.5s",
                "lb_policy": "CLUSTER_PROVIDED",
                "circuit_breakers": _breakers(),
                "cluster_type": {
                    "name": "envoy.clusters.aggregate",
                    "typed_config": {
                        "@type": _TYPE + "extensions.clusters.aggregate.v3.ClusterConfig",
                        "clusters": ["candidate", "baseline"],
                    },
                },
            },
        ],
    }


def routes(version: str, why: str) -> dict[str, Any]:
    """Return the content of ``rds.json`` for a version (see ``version_text``).

    Weights are out of 10 000. The candidate comes first, so that by the sticky key's hash the
    users of a smaller weight are among those of a larger one. At weight 0 it is not named at all.
    """
    state, _ = parse_version(version)
    probes = [
        {
            "name": PROBE + arm,
            "match": {
                "prefix": "/",
                "headers": [{"name": ARM_HEADER, "string_match": {"exact": arm}}],
            },
            "response_headers_to_add": [_served(PROBE + arm)],
            "route": {"cluster": arm, "timeout": "15s"},
        }
        for arm in ("baseline", "candidate")
    ]
    note = {"filter_metadata": {"qafila": {"why": why}}}
    idempotent = {
        "name": "users-idempotent",
        "metadata": note,
        "match": {
            "prefix": "/",
            "headers": [
                {"name": ":method", "string_match": {"safe_regex": {"regex": _IDEMPOTENT}}}
            ],
        },
        "route": {
            **_split(state, "candidate_safe"),
            "retry_policy": _RETRY,
            **_mirror(state.mirror_percent),
        },
    }
    others = {
        "name": "users",
        "metadata": note,
        "match": {"prefix": "/"},
        "route": _split(state, "candidate"),
    }
    return {
        "version_info": version,
        "resources": [
            {
                "@type": _TYPE + "config.route.v3.RouteConfiguration",
                "name": "main",
                "validate_clusters": True,
                "virtual_hosts": [
                    {"name": "app", "domains": ["*"], "routes": [*probes, idempotent, others]}
                ],
            }
        ],
    }


# One more try, at the next priority of the aggregate cluster: that is the baseline.
_RETRY: Mapping[str, Any] = {
    "retry_on": "connect-failure,refused-stream,reset,retriable-status-codes",
    "retriable_status_codes": [500, 502, 503, 504],
    "num_retries": 1,
    "per_try_timeout": "5s",
    "retry_priority": {
        "name": "envoy.retry_priorities.previous_priorities",
        "typed_config": {
            "@type": _TYPE
            + "extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            "update_frequency": 1,
        },
    },
}


def _split(state: RouterState, candidate_cluster: str) -> dict[str, Any]:
    shares = [
        (candidate_cluster, "candidate", state.candidate_percent),
        ("baseline_twin", "twin", state.twin_percent),
        ("baseline", "baseline", 100 - state.candidate_percent - state.twin_percent),
    ]
    return {
        "timeout": "15s",
        "max_stream_duration": {"max_stream_duration": "120s"},
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
            {"cluster": "candidate", "runtime_fraction": {"default_value": fraction}}
        ]
    }


def _served(arm: str) -> dict[str, Any]:
    return {
        "header": {"key": SERVED_HEADER, "value": arm},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }


def _breakers() -> dict[str, Any]:
    # Envoy's default of 3 retries at a time turned a failing canary into failed users.
    limit = 4096
    return {
        "thresholds": [
            {
                "max_connections": limit,
                "max_pending_requests": limit,
                "max_requests": limit,
                "max_retries": 1024,
            }
        ]
    }


def _cluster(name: str, url: str) -> dict[str, Any]:
    address = urlsplit(url)
    host = address.hostname or ""
    socket = {"address": host, "port_value": address.port or 80}
    return {
        "@type": _TYPE + "config.cluster.v3.Cluster",
        "name": name,
        "type": "STATIC" if _is_ip(host) else "STRICT_DNS",
        "connect_timeout": "0.5s",
        "circuit_breakers": _breakers(),
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": {"socket_address": socket}}}]}
            ],
        },
    }


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _problem(name: str, url: str) -> str | None:
    address = urlsplit(url)
    if address.scheme != "http" or not address.hostname:
        return f"service.{name}.url: {url!r} is not plain http://host:port."
    if address.path not in ("", "/") or address.query:
        return f"service.{name}.url: {url!r} has a path; Envoy passes the user's own path on."
    return None
