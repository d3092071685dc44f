"""From what a person types to the settings of a connection, without Prefect and without a secret
that could end up in a message.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from qafila.errors import BadInput, Refused
from qafila.ledger.secret_bindings import address_variable, is_bound, require_bound, secret_variable
from qafila.sql import statement

_KINDS = {"qafila-postgres": "pgvector", "qafila-qdrant": "qdrant"}


def postgres_of(address: str) -> dict[str, Any]:
    """Return how to reach a database; the password is taken out of the address.

    Raises:
        BadInput: it is not an address of a database.
    """
    try:
        parts: dict[str, Any] = conninfo_to_dict(address)
    except psycopg.ProgrammingError as error:
        raise BadInput(
            "--url is not an address of a PostgreSQL database.",
            remedy="write postgresql://user@host:5432/name; the password may stand in PGPASSWORD",
        ) from error
    password = parts.pop("password", None)
    return {"url": make_conninfo(**parts), **({"password": password} if password else {})}


def qdrant_of(address: str) -> dict[str, Any]:
    """Return how to reach Qdrant: a server by http(s), else a folder of local mode.

    The key of a server is taken from QDRANT_API_KEY.

    Raises:
        BadInput: there is no such folder, so local mode would make an empty one.
    """
    if address.startswith(("http://", "https://")):
        key = os.environ.get("QDRANT_API_KEY")
        return {"url": address, **({"api_key": key} if key else {})}
    if not (Path(address) / "meta.json").is_file():
        raise BadInput(
            f"{address} is neither an address nor a folder of Qdrant's local mode.",
            remedy="write http://host:6333, or the folder that QdrantClient(path=…) was given",
        )
    return {"path": address}


def recorded(ledger: psycopg.Connection[Any], name: str) -> tuple[str, dict[str, Any]]:
    """Return store and settings of a connection that was recorded by ``qafila apply``.

    Raises:
        Refused: there is none, it leads to no vectors, or its secret is not at hand or is for
            another address.
    """
    row = ledger.execute(statement("ledger", "get_connection"), {"name": name}).fetchone()
    if row is None or row[0] not in _KINDS:
        what = "there is no connection" if row is None else f"a {row[0]!r} holds no vectors:"
        raise Refused(
            f"{what} {name!r}.",
            remedy="name one that a workload uses, or give the address itself by --url or --qdrant",
        )
    kind, settings, has_secret = row
    variable = secret_variable(name)
    secret: Mapping[str, Any] = {}
    if has_secret:
        if variable not in os.environ:
            raise Refused(
                f"the secret of {name!r} is in its Prefect block, which is not asked here.",
                remedy=f"set {variable} and {address_variable(name)}, and look again",
            )
        require_bound(name, kind, settings)
        field = "password" if kind == "qafila-postgres" else "api_key"
        secret = {field: os.environ[variable]}
    elif is_bound(name):
        require_bound(name, kind, settings)
    return _KINDS[kind], {**settings, **secret}
