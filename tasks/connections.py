"""Turn the name of a connection into a block, also when the Prefect server is down.

The ledger keeps every connection's settings without its secret. A secret comes from the variable
``QAFILA_SECRET_<NAME>`` or, failing that, from the Prefect block of the same name, and goes only to
the address that it was given for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from prefect.blocks.core import Block
from prefect.exceptions import ObjectNotFound
from psycopg.types.json import Jsonb
from pydantic import SecretStr

from qafila.core.masking import places_of_secrets
from qafila.errors import BadInput, Refused, Unavailable
from qafila.sql import statement
from tasks.ledger import Connection
from tasks.secret_bindings import (
    address_of,
    address_variable,
    bind,
    is_bound,
    require_bound,
    require_same,
    secret_variable,
)

B = TypeVar("B", bound=Block)


def record_connection(
    ledger: Connection, name: str, block: Block, *, rebind: bool = True
) -> str | None:
    """Keep a block's settings, without secrets, in the ledger. The newest wins.

    The address of one with a secret is also bound to that secret in this home; ``rebind``: also
    where another is bound already. Return that other address, if one was replaced.

    Raises:
        BadInput: a password, token or key stands in an address.
    """
    secrets = _secret_fields(type(block))
    settings = {
        k: v for k in type(block).model_fields if k not in secrets
        and (v := getattr(block, k)) is not None and not k.startswith("_")
    }  # fmt: skip
    if places := places_of_secrets(settings):
        raise BadInput(
            f"the connection {name!r} has a password, token or key in {', '.join(places)}.",
            remedy="put it into the secret field of the block, then: qafila apply FILE",
        )
    kind = type(block).get_block_type_slug()
    has_secret = any(getattr(block, s) is not None for s in secrets)
    replaced = None
    if has_secret or is_bound(name):
        replaced = bind(name, kind, settings, rebind=rebind)
    ledger.execute(
        statement("ledger", "put_connection"),
        {"name": name, "kind": kind, "settings": Jsonb(settings), "has_secret": has_secret},
    )
    return replaced


def adopt_block(
    ledger: Connection,
    name: str,
    kind: type[B],
    *,
    rebind: bool = True,
    tell: Callable[[str], None] = lambda line: None,
) -> str | None:
    """Record the Prefect block ``kind``/``name`` in the ledger; return what is wrong, if anything.

    When the Prefect server has no such block, or does not answer, what the ledger knows is kept.
    ``rebind``: its secret may go to the block's address now, also where another was bound before;
    ``tell`` is then given a line that names both. Without it such a secret is refused at its use.
    """
    slug = kind.get_block_type_slug()
    try:
        block: Any = kind.load(name)
    except Exception as error:  # noqa: BLE001  Prefect raises ValueError, HTTP and socket errors
        row = ledger.execute(statement("ledger", "get_connection"), {"name": name}).fetchone()
        if row is not None and row[0] == slug:
            return None
        return (
            f"no connection {name!r}: create the block {slug}/{name} in the Prefect UI"
            f"{_catalog(slug)} ({_silence(error)})"
        )
    try:
        before = record_connection(ledger, name, block, rebind=rebind)
    except BadInput as refused:
        return f"{refused.what} {refused.remedy}"
    if before is not None:
        now = address_of(slug, block.model_dump())
        tell(f"the secret of {name} is for {now} now; it was for {before}.")
    return None


def _catalog(slug: str) -> str:
    """Return where in the UI such a block is made, when we know its address."""
    ui = os.environ.get("PREFECT_UI_URL", "")
    return f", {ui}/blocks/catalog/{slug}/create," if ui else ""


def connection(ledger: Connection, name: str, kind: type[B]) -> B:
    """Return the connection ``name`` as a block of ``kind``.

    Raises:
        Refused: it was never recorded, is of another kind, or its address is not the one that its
            secret was given for.
    """
    row = ledger.execute(statement("ledger", "get_connection"), {"name": name}).fetchone()
    slug = kind.get_block_type_slug()
    if row is None:
        raise Refused(
            f"there is no connection {name!r} of kind {slug!r}.",
            remedy=f"create a block {slug}/{name} in the Prefect UI, then: qafila apply FILE",
        )
    found, settings, has_secret = row
    if found != slug:
        raise Refused(f"the connection {name!r} is a {found!r}, this needs a {slug!r}.")
    if not has_secret:
        if is_bound(name):
            require_bound(name, slug, settings)
        return kind(**settings)
    return kind(**settings, **_secrets(name, kind, settings))


def _secret_fields(kind: type[Block]) -> list[str]:
    return [n for n, f in kind.model_fields.items() if "SecretStr" in str(f.annotation)]


def _secrets(name: str, kind: type[Block], recorded: Mapping[str, Any]) -> dict[str, Any]:
    variable, slug = secret_variable(name), kind.get_block_type_slug()
    fields = _secret_fields(kind)
    if variable in os.environ:
        require_bound(name, slug, recorded)
        return {fields[0]: SecretStr(os.environ[variable])}
    try:
        block: Any = kind.load(name)
    except Exception as error:  # Prefect raises ValueError, HTTP and socket errors
        raise Unavailable(
            f"the secret of the connection {name!r} is not known here. Looked for it in: "
            f"1. the variable {variable}; 2. the block {slug}/{name} in "
            f"Prefect ({_silence(error)}).",
            kept="everything; nothing was touched.",
            remedy=f"qafila up, where the stack has stopped; else set {variable} and "
            f"{address_variable(name)}, then again.",
        ) from error
    require_same(
        name, address_of(slug, recorded), address_of(slug, block.model_dump()),
        f"the block {slug}/{name}",
    )  # fmt: skip
    return {f: getattr(block, f) for f in fields}


def _silence(error: Exception) -> str:
    """Return why Prefect did not give a block."""
    none = isinstance(error.__cause__, ObjectNotFound)
    return "there is none" if none else "the Prefect server is silent"
