"""Which address a connection's secret was given for, kept sealed in the home folder.

The ledger and a rollback card name an address, and whoever can write one of them could send the
secret of ``QAFILA_SECRET_<NAME>`` to a server of his own. So the address is kept apart, in
``QAFILA_HOME/bindings.json``, sealed with a key of this home, and compared before anybody connects.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from qafila import settings
from qafila.errors import Refused
from qafila.home_keys import ensure_key, read_key
from qafila.seal import Seal, seal, seal_problem
from qafila.whole_file import write_whole

KEY = "connection-bindings"
_POSTGRES = "qafila-postgres"
_ADDRESSES = ("url", "path", "endpoint_url", "api_url")
# Parameters of libpq that change neither where a password goes nor how it is protected.
_HARMLESS = (
    "password",
    "connect_timeout",
    "application_name",
    "fallback_application_name",
    "options",
    "client_encoding",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "target_session_attrs",
)


def secret_variable(name: str) -> str:
    """Return the environment variable in which a connection's secret may stand."""
    return "QAFILA_SECRET_" + name.upper().replace("-", "_")


def address_variable(name: str) -> str:
    """Return the environment variable that says which address that secret is for."""
    return "QAFILA_ADDRESS_" + name.upper().replace("-", "_")


def bindings_path() -> Path:
    """Return the file in which this home keeps the bindings."""
    return settings.home() / "bindings.json"


def address_of(kind: str, given: Mapping[str, Any]) -> str:
    """Return the part of a connection's settings that a secret belongs to, in one spelling.

    Of PostgreSQL: host, port, database, user and how the connection is protected; never a
    password. Empty where the settings name no address (an AWS account without an endpoint).
    """
    named = {k: str(given[k]) for k in _ADDRESSES if given.get(k) is not None}
    if kind != _POSTGRES:
        return " ".join(f"{k}={v.rstrip('/')}" for k, v in named.items())
    try:
        found = conninfo_to_dict(named.get("url", ""))
    except psycopg.ProgrammingError:
        return "an address that is not PostgreSQL's"
    parts: dict[str, Any] = {k: v for k, v in found.items() if k not in _HARMLESS}
    parts.setdefault("port", "5432")
    return make_conninfo(**dict(sorted(parts.items())))


def bind(name: str, kind: str, given: Mapping[str, Any], *, rebind: bool = True) -> str | None:
    """Keep the address that a connection's secret is for; return the one before, if another.

    Only an act of the operator may call it: ``qafila apply``, ``qafila up``, or the first use.
    ``rebind``: an address that is bound already is replaced; else it stays.

    Raises:
        Refused: the file of bindings was changed by somebody else.
    """
    address = address_of(kind, given)
    with changing_bindings() as bound:
        before = bound.get(name)
        if before == address or (before is not None and not rebind):
            return None
        bound[name] = address
    return before


@contextmanager
def changing_bindings() -> Iterator[dict[str, str]]:
    """Give what this home keeps, to be changed; keep the change when the block ends without error.

    Raises:
        Refused: the file of bindings was changed by somebody else.
    """
    path = bindings_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = read_bindings()
        bound = dict(before)
        yield bound
        if bound != before:
            _write(bound)


def is_bound(name: str) -> bool:
    """Say whether this home keeps an address for a connection's secret."""
    return name in read_bindings()


def require_bound(name: str, kind: str, given: Mapping[str, Any]) -> None:
    """Refuse a recorded address other than the one that the secret was given for.

    ``QAFILA_ADDRESS_<NAME>`` decides where it is set, else what this home keeps. Nothing was
    connected to yet.

    Raises:
        Refused: the addresses differ, or nobody said which address the secret is for.
    """
    recorded, variable = address_of(kind, given), address_variable(name)
    if not recorded:
        return
    said = os.environ.get(variable)
    if said is not None:
        bound: str | None = _as_recorded(kind, given, said)
        where = f"the variable {variable}"
    else:
        bound, where = read_bindings().get(name), str(bindings_path())
    if bound is None:
        raise Refused(
            f"nobody said on this machine which address the secret of {name!r} is for; the "
            f"recorded address is {recorded}.",
            kept="everything; no connection was opened, no secret was sent.",
            remedy=f"where that address is right: qafila apply FILE, or set {variable} to it, "
            "then run the same command again.",
        )
    require_same(name, recorded, bound, where)


def require_same(name: str, recorded: str, bound: str, where: str) -> None:
    """Refuse when a recorded address is not the bound one; ``where`` says who keeps the latter.

    Raises:
        Refused: they differ; names both.
    """
    if recorded == bound:
        return
    raise Refused(
        f"the recorded address of the connection {name!r} is {recorded}, but its secret was given "
        f"for {bound} ({where}).",
        kept="everything; no connection was opened, no secret was sent.",
        remedy="where the recorded address is wrong, find out who changed the ledger or the card; "
        "where it is right, correct the address in the connection's block (or in the variable that "
        "is named above), then: qafila apply FILE",
    )


def _as_recorded(kind: str, given: Mapping[str, Any], address: str) -> str:
    """Return what a person wrote in the spelling of the recorded address."""
    field = next((k for k in _ADDRESSES if given.get(k) is not None), "url")
    return address_of(kind, {field: address})


def read_bindings() -> dict[str, str]:
    """Return what this home keeps, by name.

    Raises:
        Refused: the file of bindings was changed by somebody else.
    """
    path = bindings_path()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        body, found = content["bindings"], Seal(**content["seal"])
        key = read_key(KEY)
        problem = seal_problem(body, found, key) if key else f"its key {KEY} is not in this home"
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"it cannot be read: {error}"
        body = {}
    if problem is not None:
        raise Refused(
            f"the seal of {path} does not hold: {problem}.",
            kept="everything; no connection was opened, no secret was sent.",
            remedy=f"find out who changed it; then: rm {path}, and for each workload: "
            "qafila apply FILE",
        )
    return {str(name): str(address) for name, address in body.items()}


def _write(bound: Mapping[str, str]) -> None:
    content = {"bindings": dict(bound), "seal": asdict(seal(bound, ensure_key(KEY)))}
    bindings_path().parent.mkdir(parents=True, exist_ok=True)
    write_whole(bindings_path(), json.dumps(content, indent=1, sort_keys=True))
