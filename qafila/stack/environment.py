"""The variables that make Prefect, and whatever we start, speak to this stack and to no other."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import qafila
from qafila import settings
from qafila.errors import Unavailable
from qafila.stack.prefect_access import Login, client_variables, recorded_login, server_variables
from qafila.stack.processes import MARK

_NOT_OURS = ("PREFECT_PROFILE", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING")

# What a program needs of its surroundings, whatever it does; no secret has one of these names.
_SURROUNDINGS = frozenset(
    {"HOME", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "PYTHONPATH", "SHELL"}
    | {"SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV"}
)

# What runs of ours read beside: the credentials of a cloud where boto3 looks for them, libpq's
# settings, where a cluster is, certificates and proxies, and how an engine of a load is set up.
_READ_BY_RUNS = frozenset(
    {"CURL_CA_BUNDLE", "KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"}
    | {"REQUESTS_CA_BUNDLE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"}
    | {
        form(p)
        for p in ("all_proxy", "http_proxy", "https_proxy", "no_proxy")
        for form in (str.lower, str.upper)
    }
)
_PREFIXES_OF_RUNS = ("AWS_", "DASK_", "PG", "PREFECT_", "PYTHON", "QAFILA_", "RAY_", "SSL_CERT_")

# Prefect starts a server of its own where it knows no address, and that one phones home.
_QUIET = {
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "DO_NOT_TRACK": "1",
}


def root() -> Path:
    """Return the checkout: the folder with prefect.yaml, flows, tasks and blocks."""
    return Path(qafila.__file__).resolve().parent.parent


def prefect_variables(api_url: str, login: Login | None) -> dict[str, str]:
    """Return what a Prefect client of this stack needs to know."""
    return {
        "QAFILA_HOME": str(settings.home()),
        "QAFILA_ROOT": str(root()),
        "PREFECT_HOME": str(settings.home() / "prefect"),
        "PREFECT_API_URL": api_url,
        "PREFECT_UI_API_URL": api_url,
        "PREFECT_UI_URL": api_url.removesuffix("/api"),
        **client_variables(login),
        **_QUIET,
    }


def bare_environment(**own: str) -> dict[str, str]:
    """Return the environment of a program that is not to have the operator's secrets.

    Its surroundings and ``own``, by an allow-list: a name that nobody thought of stays outside.
    """
    kept = {k: v for k, v in os.environ.items() if k in _SURROUNDINGS or k.startswith("LC_")}
    return {**kept, "PYTHONUNBUFFERED": "1", **own}


def server_environment(api_url: str, mark: str, login: Login) -> dict[str, str]:
    """Return the environment of the Prefect server: its settings, the operator's and ours."""
    chosen = {
        k: v for k, v in os.environ.items() if k.startswith("PREFECT_") and k not in _NOT_OURS
    }
    ours = {**prefect_variables(api_url, login), **server_variables(api_url, login)}
    return bare_environment(**{**chosen, **ours, MARK: mark})


def environment(api_url: str, mark: str, login: Login | None) -> dict[str, str]:
    """Return the environment of a process that runs flows of ours, or watches over them.

    It has the operator's variables that a run can need, by an allow-list: AWS credentials are among
    them (``AWS_*``: boto3 looks for them in the run), and the secrets of connections
    (``QAFILA_SECRET_*``). A token of another program is not, unless ``QAFILA_RUN_VARIABLES`` names
    it: names with commas between.
    """
    named = {name.strip() for name in os.environ.get("QAFILA_RUN_VARIABLES", "").split(",")}
    needed = {
        k: v
        for k, v in os.environ.items()
        if (k in _READ_BY_RUNS or k in named or k.startswith(_PREFIXES_OF_RUNS))
        and k not in _NOT_OURS
    }
    return bare_environment(**{**needed, **prefect_variables(api_url, login), MARK: mark})


def speak_to_stack() -> str:
    """Point this process at the running stack's Prefect server; return the UI's address.

    Call it before Prefect is imported: it reads its settings once.

    Raises:
        Unavailable: the stack was not started, or what its server asks for is not to be had.
    """
    section = settings.stack_state().get("prefect")
    if not section:
        raise Unavailable(
            f"no Prefect server was started in {settings.home()}.",
            kept="nothing was touched.",
            remedy="qafila up",
        )
    variables = prefect_variables(section["api_url"], recorded_login())
    for variable in _NOT_OURS:
        os.environ.pop(variable, None)
    os.environ.update(variables)
    return str(section["ui_url"])


def prefer_stack() -> None:
    """Speak to the running stack's Prefect server where there is one; never start another.

    Any command may need a secret that only a block has. Call it before Prefect is imported.
    """
    os.environ.update(_QUIET)
    with suppress(Unavailable, OSError, ValueError):  # no stack, or a record that cannot be read
        speak_to_stack()
