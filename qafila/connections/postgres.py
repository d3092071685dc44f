"""Connect to PostgreSQL; off this machine only encrypted and verified, unless the address says."""

from __future__ import annotations

import ipaddress
import logging
import os
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from qafila.errors import BadInput, Unavailable
from qafila.session_name import session_name
from qafila.text.masking import mask_text

_LOG = logging.getLogger(__name__)
_SSL, _AUTH = "verify-full", "scram-sha-256"


def connect_postgres(
    url: str, password: str | None = None, connect_timeout_seconds: int = 5
) -> psycopg.Connection[Any]:
    """Return an autocommit connection with a plan of its own for every caller.

    Its application name says what it is for, unless the address or PGAPPNAME has one. A server
    on another machine must prove its name (see ``protection_of``).

    Raises:
        BadInput: it is not an address of a database.
        Unavailable: the server does not answer, refuses us, or does not prove who it is.
    """
    secret: dict[str, Any] = {} if password is None else {"password": password}
    try:
        return psycopg.connect(
            url,
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=connect_timeout_seconds,
            fallback_application_name=session_name(),
            **protection_of(url),
            **secret,
        )
    except psycopg.OperationalError as error:
        first = mask_text(str(error).strip().splitlines()[0])
        raise Unavailable(
            f"the database {mask_text(url)} does not answer: {first}",
            kept="nothing was touched.",
            remedy="check the address in the block, then: qafila doctor",
        ) from error


def protection_of(url: str) -> dict[str, Any]:
    """Return the parameters that protect a connection, where its address leaves them out.

    None on this machine (a loopback address or a Unix socket). Elsewhere ``sslmode=verify-full``,
    with the system's authorities where no other are given, and ``require_auth=scram-sha-256``, so
    that no server gets a password in clear. What the address or libpq's environment says wins; a
    weaker choice is logged once.

    Raises:
        BadInput: it is not an address of a database.
    """
    try:
        said = {k: str(v) for k, v in conninfo_to_dict(url).items()}
    except psycopg.ProgrammingError:
        raise BadInput(
            "the address of a database cannot be read.",
            remedy="write postgresql://user@host:5432/name, with % codes for special characters",
        ) from None  # libpq repeats parts of the address, the password among them
    places = said.get("hostaddr") or said.get("host") or os.environ.get("PGHOSTADDR")
    places = places or os.environ.get("PGHOST", "")
    by_service = "service" in said or "PGSERVICE" in os.environ
    if all(map(_is_here, places.split(","))) and not (by_service and not places):
        return {}
    server = f"{places or 'a service'}, port {said.get('port', 5432)},"
    added: dict[str, Any] = {}
    ssl = said.get("sslmode") or os.environ.get("PGSSLMODE")
    if ssl is None:
        added["sslmode"] = _SSL
        if not _has_authorities(said):
            added["sslrootcert"] = "system"
    elif ssl != _SSL:
        _warn(server, f"sslmode={ssl}", "anybody on the way can pretend to be it")
    auth = said.get("require_auth") or os.environ.get("PGREQUIREAUTH")
    if auth is None:
        added["require_auth"] = _AUTH
    elif auth != _AUTH:
        _warn(server, f"require_auth={auth}", "it may ask for the password in a weaker form")
    return added


def _is_here(place: str) -> bool:
    """Say whether a host is this machine: a loopback address, or the folder of a Unix socket."""
    if not place or place.startswith(("/", "@")) or place == "localhost":
        return True
    try:
        return ipaddress.ip_address(place).is_loopback
    except ValueError:
        return False


def _has_authorities(said: dict[str, str]) -> bool:
    if said.get("sslrootcert") or os.environ.get("PGSSLROOTCERT"):
        return True
    try:
        return (Path.home() / ".postgresql" / "root.crt").is_file()
    except RuntimeError:  # this account has no home
        return False


@cache
def _warn(server: str, chosen: str, what: str) -> None:
    _LOG.warning("The database at %s is connected to with %s: %s.", server, chosen, what)
