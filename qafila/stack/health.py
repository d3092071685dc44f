"""How each piece is: version, address, health, and the remedy where it is not well."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version as package_version
from typing import Any

import httpx
import psycopg

from qafila import settings
from qafila.errors import Unavailable
from qafila.session_name import session_name
from qafila.stack import envoy, ground, moto, prefect, state
from qafila.stack.environment import root
from qafila.stack.prefect_access import recorded_login

PGVECTOR = (0, 8, 4)  # earlier ones have faults in vacuum and in parallel index builds
_WORKER_SILENT_S = 30.0


@dataclass(frozen=True)
class Health:
    """One piece as an operator reads it; ``remedy`` is empty when it is well."""

    piece: str
    well: bool
    version: str = ""
    address: str = ""
    health: str = "well"
    remedy: str = ""


def examine() -> list[Health]:
    """Return the health of every piece; never raises because one of them does not answer."""
    recorded = settings.stack_state()
    checks: dict[str, Callable[[dict[str, Any]], Health]] = {
        "postgres": _postgres,
        "prefect": _prefect,
        "worker": _worker,
        "deployments": _deployments,
        "moto": _moto,
        "envoy": _envoy,
        "watchdog": _watchdog,
    }
    found = [_ground()]
    for piece, check in checks.items():
        process = state.recorded("prefect" if piece == "deployments" else piece)
        if process is None:
            found.append(_ill(piece, "not started", "qafila up"))
        elif not process.alive:
            found.append(_ill(piece, f"its process {process.pid} has ended", _why(piece)))
        else:
            try:
                found.append(check(recorded))
            except Unavailable as error:
                found.append(_ill(piece, error.what.rstrip("."), error.remedy))
            except (httpx.HTTPError, psycopg.Error, OSError) as error:
                sentence = str(error).strip().splitlines()
                what = sentence[0] if sentence else type(error).__name__
                found.append(_ill(piece, f"does not answer: {what}", _why(piece)))
    return found


def _ill(piece: str, health: str, remedy: str, *, version: str = "", address: str = "") -> Health:
    return Health(piece, False, version, address, health, remedy)


def _why(piece: str) -> str:
    log = settings.home() / "logs" / f"{piece}.log"
    return f"qafila up starts it again; why it ended: {log}" if log.is_file() else "qafila up"


def _ground() -> Health:
    home = settings.home()
    problems = ground.problems(home, root())
    free = f"{ground.free_bytes(home) / 1e9:.1f} GB free"
    version = f"python {platform.python_version()}"
    if problems:
        return _ill("machine", free, " ".join(problems), version=version, address=str(home))
    return Health("machine", True, version, str(home), free)


def _postgres(recorded: dict[str, Any]) -> Health:
    url = recorded["postgres"]["target_url"]
    with psycopg.connect(
        url, connect_timeout=5, fallback_application_name=session_name()
    ) as connection:
        row = connection.execute(
            "SELECT current_setting('server_version'),"
            " (SELECT extversion FROM pg_extension WHERE extname = 'vector')"
        ).fetchone()
    assert row is not None
    server, extension = str(row[0]).split()[0], row[1]
    versions = f"{server} + pgvector {extension or 'missing'}"
    if extension is None or _numbers(extension) < PGVECTOR:
        return _ill(
            "postgres",
            "refused as a target: its pgvector can lose rows or corrupt an index",
            "use pgvector 0.8.4 or newer: install it, then ALTER EXTENSION vector UPDATE",
            version=versions,
            address=_socket(url),
        )
    return Health("postgres", True, versions, _socket(url))


def _prefect(recorded: dict[str, Any]) -> Health:
    section = recorded["prefect"]
    if not prefect.healthy(section["api_url"]):
        return _ill("prefect", "does not answer", _why("prefect"), address=section["ui_url"])
    if recorded_login() is None:
        return _ill(
            "prefect",
            "asks for no password: it was started by an earlier release",
            "qafila down, then: qafila up",
            address=section["ui_url"],
        )
    return Health("prefect", True, prefect.version(section["api_url"]), section["ui_url"])


def _worker(recorded: dict[str, Any]) -> Health:
    address = f"work pool {prefect.POOL}"
    age = prefect.worker_age_s(recorded["prefect"]["api_url"], time.time())
    if age is None or age > _WORKER_SILENT_S:
        heard = "never heard" if age is None else f"last heard {age:.0f} s ago"
        return _ill("worker", heard, "qafila down, then: qafila up", address=address)
    return Health(
        "worker", True, package_version("prefect"), address, f"well, heard {age:.0f} s ago"
    )


def _deployments(recorded: dict[str, Any]) -> Health:
    address = str(root() / "prefect.yaml")
    wanted = set(recorded.get("registered", {}).get("deployments", []))
    missing = sorted(wanted - prefect.deployments(recorded["prefect"]["api_url"]))
    if not wanted or missing:
        what = f"not registered: {', '.join(missing)}" if missing else "none is registered"
        return _ill("deployments", what, "qafila up", address=address)
    return Health("deployments", True, "", address, f"{len(wanted)} registered")


def _moto(recorded: dict[str, Any]) -> Health:
    url = recorded["moto"]["url"]
    if not moto.healthy(url):
        return _ill("moto", "does not answer", _why("moto"), address=url)
    return Health("moto", True, package_version("moto"), url)


def _envoy(recorded: dict[str, Any]) -> Health:
    section = recorded["envoy"]
    admin, address = section["admin_url"], section["listen_url"]
    if not envoy.healthy(admin):
        return _ill("envoy", "is not ready", _why("envoy"), address=address)
    routes = envoy.route_version(admin)
    return Health("envoy", True, envoy.version(admin), address, f"well, routes {routes or 'none'}")


def _watchdog(recorded: dict[str, Any]) -> Health:
    return Health("watchdog", True, package_version("qafila"), f"pid {recorded['watchdog']['pid']}")


def _socket(url: str) -> str:
    return url.partition("host=")[2] or url


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version)[:3])
