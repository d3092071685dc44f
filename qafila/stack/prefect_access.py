"""Who may speak to the embedded Prefect server: whoever has the string of this home.

Whoever speaks to the server runs code as the operator and reads every block's secrets, and any
account of the machine reaches a loopback port. The server therefore asks for a string
(``user:password``), and for a CSRF token with each request that changes something.
"""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass
from typing import Any

import httpx

from qafila import settings
from qafila.errors import Unavailable
from qafila.home_keys import ensure_key, key_path, read_key

USER, PURPOSE = "qafila", "prefect-api"
VARIABLE = "PREFECT_API_AUTH_STRING"
SHOW = "qafila ui"  # the command that shows the string to the operator

_HOME_KEY = "home key"  # as stack.json says where the string of a server came from
_CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_TRIES = 6  # as often as Prefect's own client
# Uvicorn closes a connection that was idle for its keep-alive time even where a request is already
# on its way, and that is measured while its loop is busy (PrefectHQ/prefect#7512). A request that
# has a connection of its own never meets this, so none has to be sent twice.
_LIMITS = httpx.Limits(max_keepalive_connections=0)
_csrf: dict[str, dict[str, str]] = {}  # headers by address of the API, kept while this process runs


@dataclass(frozen=True)
class Login:
    """The string that a server asks for, and where it came from; never shown by ``repr``."""

    text: str
    origin: str

    def __repr__(self) -> str:
        return f"Login(origin={self.origin!r})"


def choose_login() -> Login:
    """Return what a server that is to be started will ask for.

    The operator's own ``PREFECT_API_AUTH_STRING`` where it is set, else the key of this home.
    """
    own = f"{USER}:{ensure_key(PURPOSE)}"
    given = os.environ.get(VARIABLE, "")
    return Login(given, VARIABLE) if given not in ("", own) else Login(own, _HOME_KEY)


def recorded_login() -> Login | None:
    """Return what the server in stack.json asks for; None for one of an earlier release.

    Raises:
        Unavailable: the key file is gone, or the variable is not set that the server was
            started with.
    """
    origin = settings.stack_state().get("prefect", {}).get("auth")
    if origin is None:
        return None
    if origin == _HOME_KEY:
        key = read_key(PURPOSE)
        if key is None:
            raise Unavailable(
                f"the key of the Prefect server, {key_path(PURPOSE)}, is gone.",
                kept="everything as it was.",
                remedy="qafila down, then: qafila up (a new key is made)",
            )
        return Login(f"{USER}:{key}", _HOME_KEY)
    given = os.environ.get(VARIABLE, "")
    if not given:
        raise Unavailable(
            f"the Prefect server was started with {VARIABLE}, which is not set here.",
            kept="everything as it was.",
            remedy=f"export {VARIABLE} as it was when the stack was started, then try again.",
        )
    return Login(given, VARIABLE)


def client_variables(login: Login | None) -> dict[str, str]:
    """Return what a Prefect client needs to be let in."""
    csrf = {"PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "true"}
    return csrf if login is None else {**csrf, VARIABLE: login.text}


def server_variables(api_url: str, login: Login) -> dict[str, str]:
    """Return what makes a server ask for the string and for CSRF tokens, and answer its own UI.

    The names are those that Prefect reads first, so that no other spelling in the operator's
    environment opens what is closed here.
    """
    return {
        "PREFECT_SERVER_API_AUTH_STRING": login.text,
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": api_url.removesuffix("/api"),
    }


def ask(
    api: str, method: str, path: str, body: dict[str, Any] | None = None, *, timeout_s: float = 10.0
) -> httpx.Response:
    """Ask the API of this home's server; return its answer, whatever its status.

    Raises:
        Unavailable: it does not accept the string of this home.
        httpx.TransportError: it does not answer.
    """
    login = recorded_login()
    auth = None if login is None else httpx.BasicAuth(*_parts(login.text))
    with httpx.Client(
        base_url=api, auth=auth, timeout=timeout_s, trust_env=False, limits=_LIMITS
    ) as client:
        for tried in range(_TRIES):
            headers = _csrf_headers(client, api) if method in _CHANGES else {}
            reply = client.request(method, path, json=body, headers=headers)
            if reply.status_code == 403 and headers:  # the token lapsed, or the database is new
                _csrf.pop(api, None)
            elif reply.status_code != 503:  # its SQLite was locked for longer than it waits
                break
            else:
                time.sleep(0.2 * tried)
    if reply.status_code == 401:
        where = VARIABLE if login is not None and login.origin == VARIABLE else key_path(PURPOSE)
        raise Unavailable(
            f"the Prefect server at {api} does not accept the string from {where}.",
            kept="everything as it was.",
            remedy="use what the stack was started with, or restart it: qafila down && qafila up",
        )
    return reply


def _parts(text: str) -> tuple[str, str]:
    user, _, password = text.partition(":")
    return user, password


def _csrf_headers(client: httpx.Client, api: str) -> dict[str, str]:
    """Return the headers of a change; none where the server asks for no token."""
    if api not in _csrf:
        name = str(uuid.uuid4())
        reply = client.get("/csrf-token", params={"client": name})
        if reply.status_code != 200:
            return {}
        _csrf[api] = {
            "Prefect-Csrf-Client": name,
            "Prefect-Csrf-Token": str(reply.json()["token"]),
        }
    return _csrf[api]
