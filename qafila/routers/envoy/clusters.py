"""Build ``cds.json`` and ``lds.json``: where an Envoy can send requests, and what it changes. Pure.

What routes name: ``baseline``, its second name ``baseline_twin`` (for the A/A bake), ``candidate``,
``candidate_shadow`` (copies only, so that they are counted apart), and ``candidate_safe``, which is
the candidate with the baseline behind it: a request that the candidate fails is asked again of the
baseline, where it may be asked twice.

Each of them leads to a listener inside Envoy, one an arm, and that one to the service. The second
hop took 0.04 ms (median of 500, Envoy 1.40). It is there because Envoy never retries a request that
a circuit breaker refused: refused behind the hop, it is an ordinary 503 in front of it, and goes to
the baseline. It is also where the arm's model, path, host and credential are put in.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from qafila.routers.envoy.alias import BODY_LIMIT, model_script
from qafila.routers.envoy.arms import CREDENTIAL, PREFIX, Arm, RouteSettings, is_ip

_TYPE = "type.googleapis.com/envoy."
_HTTP = _TYPE + "extensions.filters.http."
_OPEN = 16_384  # in front of the hop: never the first to say no
_COPIES = 256  # copies open at a time; a hanging candidate cannot gather more
_AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)


def clusters(baseline: Arm, candidate: Arm, settings: RouteSettings) -> dict[str, Any]:
    """Return the content of ``cds.json`` for arms that ``require_arms`` has let through."""
    return _versioned(
        [
            _service("baseline_service", baseline, at_once=_OPEN),
            _service("candidate_service", candidate, at_once=settings.canary_at_once),
            _hop("baseline", "baseline"),
            _hop("baseline_twin", "baseline"),
            _hop("candidate", "candidate"),
            _hop("candidate_shadow", "candidate_shadow", at_once=_COPIES),
            {
                "@type": _TYPE + "config.cluster.v3.Cluster",
                "name": "candidate_safe",
                "connect_timeout": "0.5s",
                "lb_policy": "CLUSTER_PROVIDED",
                "circuit_breakers": _breakers(_OPEN),
                "cluster_type": {
                    "name": "envoy.clusters.aggregate",
                    "typed_config": {
                        "@type": _TYPE + "extensions.clusters.aggregate.v3.ClusterConfig",
                        "clusters": ["candidate", "baseline"],
                    },
                },
            },
        ]
    )


def listeners(baseline: Arm, candidate: Arm, settings: RouteSettings) -> dict[str, Any]:
    """Return the content of ``lds.json``: one listener inside Envoy for each arm, one for copies.

    How long users wait is up to the route in front. Copies are given up after ``per_try_s`` here,
    as a user would have been: in front they would stay open for ``whole_s``, and a candidate that
    hangs would look like one that was not asked yet.
    """
    return _versioned(
        [
            _arm("baseline", "baseline_service", baseline, settings, 0.0),
            _arm("candidate", "candidate_service", candidate, settings, 0.0),
            _arm("candidate_shadow", "candidate_service", candidate, settings, settings.per_try_s),
        ]
    )


def _versioned(resources: list[dict[str, Any]]) -> dict[str, Any]:
    digest = hashlib.sha256(json.dumps(resources, sort_keys=True).encode()).hexdigest()
    return {"version_info": digest[:16], "resources": resources}


def _breakers(at_once: int) -> dict[str, Any]:
    # Envoy's default of 3 retries at a time turned a failing canary into failed users.
    limits = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    return {"thresholds": [dict.fromkeys(limits, at_once)]}


def _cluster(
    name: str, kind: str, address: dict[str, Any], breakers: dict[str, Any]
) -> dict[str, Any]:
    return {
        "@type": _TYPE + "config.cluster.v3.Cluster",
        "name": name,
        "type": kind,
        "connect_timeout": "0.5s",
        "circuit_breakers": breakers,
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


def _hop(name: str, arm: str, at_once: int = _OPEN) -> dict[str, Any]:
    sockets = _TYPE + "extensions.transport_sockets."
    inside = {"envoy_internal_address": {"server_listener_name": _listener_name(arm)}}
    return {
        **_cluster(name, "STATIC", inside, _breakers(at_once)),
        "transport_socket": {
            "name": "envoy.transport_sockets.internal_upstream",
            "typed_config": {
                "@type": sockets + "internal_upstream.v3.InternalUpstreamTransport",
                "transport_socket": {
                    "name": "envoy.transport_sockets.raw_buffer",
                    "typed_config": {"@type": sockets + "raw_buffer.v3.RawBuffer"},
                },
            },
        },
    }


def _service(name: str, arm: Arm, at_once: int) -> dict[str, Any]:
    address = {"socket_address": {"address": arm.host, "port_value": arm.port}}
    kind = "STATIC" if is_ip(arm.host) else "STRICT_DNS"
    encryption = {"transport_socket": _encryption(arm)} if arm.encrypted else {}
    # A request that waits for a connection is one that hangs: few may.
    breakers = _breakers(at_once)
    breakers["thresholds"][0]["max_pending_requests"] = max(1, at_once // 4)
    return {**_cluster(name, kind, address, breakers), **encryption}


def _encryption(arm: Arm) -> dict[str, Any]:
    authorities = arm.ca_file or next(
        (file for file in _AUTHORITIES if Path(file).exists()), _AUTHORITIES[0]
    )
    named = {"san_type": "IP_ADDRESS" if is_ip(arm.host) else "DNS"}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": _TYPE + "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            **({} if is_ip(arm.host) else {"sni": arm.host}),
            "common_tls_context": {
                "validation_context": {
                    "trusted_ca": {"filename": authorities},
                    "match_typed_subject_alt_names": [{**named, "matcher": {"exact": arm.host}}],
                }
            },
        },
    }


def _listener_name(arm: str) -> str:
    return f"arm-{arm}"


def _arm(
    name: str, service: str, arm: Arm, settings: RouteSettings, timeout_s: float
) -> dict[str, Any]:
    return {
        "@type": _TYPE + "config.listener.v3.Listener",
        "name": _listener_name(name),
        "internal_listener": {},
        "per_connection_buffer_limit_bytes": BODY_LIMIT + 1,
        "filter_chains": [
            {"filters": [_connection_manager(name, service, arm, settings, timeout_s)]}
        ],
    }


def _connection_manager(
    name: str, service: str, arm: Arm, settings: RouteSettings, timeout_s: float
) -> dict[str, Any]:
    manager = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    host = {"host_rewrite_literal": _host(arm)} if arm.foreign else {}
    action = {"cluster": service, "timeout": f"{timeout_s:g}s", **host}
    routes: list[dict[str, Any]] = [{"match": {"prefix": "/"}, "route": action}]
    if arm.prefix and arm.prefix != PREFIX:
        inner = {"match": {"path_separated_prefix": PREFIX}}
        routes.insert(0, {**inner, "route": {**action, "prefix_rewrite": arm.prefix}})
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": _TYPE + manager,
            "stat_prefix": _listener_name(name),
            "generate_request_id": False,
            "preserve_external_request_id": True,
            "server_header_transformation": "PASS_THROUGH",
            "common_http_protocol_options": {"idle_timeout": "0s"},
            "stream_idle_timeout": "0s",
            "route_config": {
                "name": _listener_name(name),
                "virtual_hosts": [{"name": name, "domains": ["*"], "routes": routes}],
            },
            "http_filters": [
                *_model(arm, settings),
                *_credential(arm),
                {
                    "name": "envoy.filters.http.router",
                    # x-envoy-overloaded, which this leaves out, would forbid the retry in front.
                    "typed_config": {
                        "@type": _HTTP + "router.v3.Router",
                        "suppress_envoy_headers": True,
                    },
                },
            ],
        },
    }


def _host(arm: Arm) -> str:
    host = f"[{arm.host}]" if ":" in arm.host else arm.host
    return host if arm.address.port is None else f"{host}:{arm.port}"


def _model(arm: Arm, settings: RouteSettings) -> list[dict[str, Any]]:
    if settings.alias is None or arm.model in (None, settings.alias):
        return []
    return [
        {
            "name": "envoy.filters.http.lua",
            "typed_config": {
                "@type": _HTTP + "lua.v3.Lua",
                "default_source_code": {
                    "inline_string": model_script(settings.alias, str(arm.model))
                },
            },
        }
    ]


def _credential(arm: Arm) -> list[dict[str, Any]]:
    if arm.credential_file is None:
        return []
    file = {"path_config_source": {"path": arm.credential_file}, "resource_api_version": "V3"}
    return [
        {
            "name": "envoy.filters.http.credential_injector",
            "typed_config": {
                "@type": _HTTP + "credential_injector.v3.CredentialInjector",
                "overwrite": True,
                "credential": {
                    "name": "envoy.http.injected_credentials.generic",
                    "typed_config": {
                        "@type": _TYPE + "extensions.http.injected_credentials.generic.v3.Generic",
                        "credential": {"name": CREDENTIAL, "sds_config": file},
                    },
                },
            },
        }
    ]
