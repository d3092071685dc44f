"""Turn the name of a connection into its settings, also when the Prefect server is down.

The ledger, or a rollback card, keeps every connection's settings without its secret. A secret comes
from the variable ``QAFILA_SECRET_<NAME>`` or, failing that, from the Prefect block of the same
name, for which nobody waits longer than a moment. It goes only to the address that it was given
for, whatever the ledger or the card says.

Prefect is not imported here: who can ask it is found among the installed ``qafila.secrets``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, TypeVar

import psycopg
from psycopg.types.json import Jsonb
from pydantic import SecretStr

from qafila.connections.postgres import connect_postgres
from qafila.connections.settings import (
    KINDS,
    AwsConnection,
    ConnectionSettings,
    EmbeddingConnection,
    EnvoyConnection,
    KubernetesConnection,
    PostgresConnection,
    QdrantConnection,
    secret_fields,
)
from qafila.errors import BadInput, Refused, Unavailable
from qafila.ledger.ledger import Connection
from qafila.ledger.secret_bindings import (
    address_of,
    address_variable,
    bind,
    is_bound,
    require_bound,
    require_same,
    secret_variable,
)
from qafila.sql import statement
from qafila.text.masking import places_of_secrets

C = TypeVar("C", bound=ConnectionSettings)

# What a workload file calls a kind of source, target, embedder or router.
NEEDED: Mapping[str, type[ConnectionSettings]] = {
    "postgres": PostgresConnection,
    "pgvector": PostgresConnection,
    "qdrant": QdrantConnection,
    "objects": AwsConnection,
    "openai": EmbeddingConnection,
    "envoy-file": EnvoyConnection,
    "alb": AwsConnection,
    "route53": AwsConnection,
    "gateway-api": KubernetesConnection,
}
PREFECT_SECONDS = 10.0  # that anybody waits for it, its import included
_NONE, _SILENT = "there is none", "the Prefect server is silent"
_NOBODY = "nothing that asks it is installed here"


@dataclass(frozen=True)
class Recorded:
    """One connection: its kind, its settings without secrets."""

    name: str
    kind: str
    settings: Mapping[str, Any]
    has_secret: bool

    @property
    def variable(self) -> str:
        """Return the environment variable in which its secret may stand."""
        return secret_variable(self.name)


Lookup = Callable[[str], Recorded | None]


@dataclass(frozen=True, repr=False)
class _Told:
    """What Prefect told of a block: its settings with secrets, else why there are none."""

    settings: Mapping[str, Any] | None
    why: str = ""
    error: BaseException | None = None


def recorded_in(ledger: Connection) -> Lookup:
    """Return how to find a connection by its name in the ledger."""

    def find(name: str) -> Recorded | None:
        row = ledger.execute(statement("ledger", "get_connection"), {"name": name}).fetchone()
        return None if row is None else Recorded(name, row[0], dict(row[1]), bool(row[2]))

    return find


def record_connection(
    ledger: Connection, name: str, given: ConnectionSettings, *, rebind: bool = True
) -> str | None:
    """Keep a connection's settings, without secrets, in the ledger. The newest wins.

    The address of one with a secret is also bound to that secret in this home; ``rebind``: also
    where another is bound already. Return that other address, if one was replaced.

    Raises:
        BadInput: a password, token or key stands in an address.
    """
    secrets = secret_fields(type(given))
    settings = {
        field: value
        for field in type(given).model_fields
        if field not in secrets and (value := getattr(given, field)) is not None
    }
    if places := places_of_secrets(settings):
        raise BadInput(
            f"the connection {name!r} has a password, token or key in {', '.join(places)}.",
            remedy="put it into the secret field of the block, then: qafila apply FILE",
        )
    has_secret = any(getattr(given, s) is not None for s in secrets)
    replaced = None
    if has_secret or is_bound(name):
        replaced = bind(name, given.kind, settings, rebind=rebind)
    ledger.execute(
        statement("ledger", "put_connection"),
        {
            "name": name,
            "kind": given.kind,
            "settings": Jsonb(settings),
            "has_secret": has_secret,
        },
    )
    return replaced


def adopt_block(
    ledger: Connection,
    name: str,
    kind: type[ConnectionSettings],
    *,
    rebind: bool = True,
    tell: Callable[[str], None] = lambda line: None,
) -> str | None:
    """Record the Prefect block ``kind``/``name`` in the ledger; return what is wrong, if anything.

    When the Prefect server has no such block, or does not answer, what the ledger knows is kept.
    ``rebind``: its secret may go to the block's address now, also where another was bound before;
    ``tell`` is then given a line that names both. Without it such a secret is refused at its use.
    """
    return _adopt(ledger, name, kind, _ask_prefect(kind.kind, name), rebind=rebind, tell=tell)


def _adopt(
    ledger: Connection,
    name: str,
    kind: type[ConnectionSettings],
    told: _Told,
    *,
    rebind: bool,
    tell: Callable[[str], None] = lambda line: None,
) -> str | None:
    if told.settings is None:
        known = recorded_in(ledger)(name)
        if known is not None and known.kind == kind.kind:
            return None
        return (
            f"no connection {name!r}: create the block {kind.kind}/{name} in the Prefect UI"
            f"{_catalog(kind.kind)} ({told.why})"
        )
    try:
        before = record_connection(ledger, name, kind(**told.settings), rebind=rebind)
    except BadInput as refused:
        return f"{refused.what} {refused.remedy}"
    if before is not None:
        now = address_of(kind.kind, told.settings)
        tell(f"the secret of {name} is for {now} now; it was for {before}.")
    return None


def _catalog(slug: str) -> str:
    """Return where in the UI such a block is made, when we know its address."""
    ui = os.environ.get("PREFECT_UI_URL", "")
    return f", {ui}/blocks/catalog/{slug}/create," if ui else ""


def connection(ledger: Connection, name: str, kind: type[C]) -> C:
    """Return the connection ``name``, its secret included.

    Raises:
        Refused: it was never recorded, is of another kind, or its address is not the one that its
            secret was given for.
        Unavailable: nobody knows its secret.
    """
    return _whole(recorded_in(ledger)(name), name, kind)


def adopted_connection(ledger: Connection, name: str, kind: type[C]) -> C:
    """Return the connection ``name`` as its block is now, else as the ledger remembers it.

    Prefect is asked once. What is bound to a secret stays bound.

    Raises as ``connection`` does.
    """
    told = _ask_prefect(kind.kind, name)
    _adopt(ledger, name, kind, told, rebind=False)
    return _whole(recorded_in(ledger)(name), name, kind, told)


def _whole(found: Recorded | None, name: str, kind: type[C], told: _Told | None = None) -> C:
    if found is None:
        raise _unknown(name, kind.kind)
    if found.kind != kind.kind:
        raise Refused(f"the connection {name!r} is a {found.kind!r}, this needs a {kind.kind!r}.")
    if found.has_secret:
        return kind(**found.settings, **_secrets(found, told))
    if is_bound(name):
        require_bound(name, found.kind, found.settings)
    return kind(**found.settings)


def open_postgres(found: Recorded | None, name: str) -> psycopg.Connection[Any]:
    """Return an autocommit connection to a recorded database.

    Raises:
        Refused: it was never recorded, is of another kind, or its address is not the one that its
            secret was given for.
        Unavailable: the server does not answer, or nobody knows the password.
    """
    if found is None or found.kind != PostgresConnection.kind:
        raise _unknown(name, PostgresConnection.kind)
    password = secret_of(found) if found.has_secret else None
    if password is None and is_bound(name):
        require_bound(name, found.kind, found.settings)
    return connect_postgres(
        str(found.settings["url"]), password, int(found.settings.get("connect_timeout_seconds", 5))
    )


def secret_of(found: Recorded) -> str:
    """Return the secret of a connection that has one: its variable, else that of its block.

    Raises:
        Refused: the recorded address is not the one that the secret was given for.
        Unavailable: neither knows it.
    """
    secret = next(iter(_secrets(found).values()))
    if secret is None:
        raise _not_known(found, "it has no secret any more")
    return secret.get_secret_value()


def _unknown(name: str, slug: str) -> Refused:
    return Refused(
        f"there is no connection {name!r} of kind {slug!r}.",
        remedy=f"create a block {slug}/{name} in the Prefect UI, then: qafila apply FILE",
    )


def _not_known(found: Recorded, why: str) -> Unavailable:
    return Unavailable(
        f"the secret of the connection {found.name!r} is not known here. Looked for it in: "
        f"1. the variable {found.variable}; 2. the block {found.kind}/{found.name} in "
        f"Prefect ({why}).",
        kept="everything as it is.",
        remedy=f"qafila up, where the stack has stopped; else set {found.variable} and "
        f"{address_variable(found.name)}, then run the same command again.",
    )


def _secrets(found: Recorded, told: _Told | None = None) -> dict[str, SecretStr | None]:
    """Return the secret fields of a connection; ``told``: what Prefect said, if it was asked."""
    fields = secret_fields(KINDS[found.kind])
    if found.variable in os.environ:
        require_bound(found.name, found.kind, found.settings)
        return {fields[0]: SecretStr(os.environ[found.variable])}
    told = told or _ask_prefect(found.kind, found.name)
    if told.settings is None:
        raise _not_known(found, told.why) from told.error
    require_same(
        found.name,
        address_of(found.kind, found.settings),
        address_of(found.kind, told.settings),
        f"the block {found.kind}/{found.name}",
    )
    return {field: told.settings[field] for field in fields}


def _ask_prefect(slug: str, name: str) -> _Told:
    """Ask Prefect for a block, and wait no longer than a moment for what it says."""
    told: list[_Told] = []

    def ask() -> None:
        asking = next(iter(entry_points(group="qafila.secrets", name="prefect")), None)
        try:
            load = None if asking is None else asking.load()
        except (ImportError, AttributeError):
            load = None
        if load is None:
            told.append(_Told(None, _NOBODY))
            return
        try:
            told.append(_Told(load(slug, name)))
        except Exception as error:  # noqa: BLE001  Prefect raises ValueError, HTTP and socket errors
            why = _NONE if type(error) is LookupError else _SILENT
            told.append(_Told(None, why, error))

    # In the caller's context, so that Prefect finds the settings and the run that are set there.
    thread = threading.Thread(target=copy_context().run, args=(ask,), daemon=True)
    thread.start()
    thread.join(PREFECT_SECONDS)
    if told:
        return told[0]
    return _Told(None, _SILENT, TimeoutError(f"no answer within {PREFECT_SECONDS:.0f} s"))
