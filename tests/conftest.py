"""One embedded PostgreSQL a session; every test that asks gets databases of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Literal

import psycopg
import pytest
from psycopg import sql

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")

# A script starts what it puts in the background with Ctrl-C ignored, and all that is started from
# there inherits it: a test that sends one would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from benchmarks.ending import ended_by_sigterm, stop_server
from qafila.sql import apply_schema
from qafila.stack import postgres

# Why a test may skip on a machine that could have what it needs: a package that installs.
_INSTALLS = re.compile(
    "no Prometheus is installed|no Chromium on this machine|no local (language )?model|"
    "prefect-ray is an extra"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out the parameters that a test does not apply to, by its marker ``without``.

    A skip is for what is missing on this machine.
    """
    items[:] = [item for item in items if not _does_not_apply(item)]


def _does_not_apply(item: pytest.Item) -> bool:
    left_out: set[object] = set()
    for mark in item.iter_markers("without"):
        if not mark.args or not mark.kwargs.get("reason"):
            raise pytest.UsageError(f"{item.nodeid}: `without` takes parameters and a reason")
        left_out.update(mark.args)
    return bool(left_out) and not left_out.isdisjoint(item.callspec.params.values())  # type: ignore[attr-defined]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Fail a test in the checks (``CI=true``) that skips for want of what they install."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and os.environ.get("CI") == "true" and _INSTALLS.search(str(report.longrepr)):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} skips in the checks: {report.longrepr}"


@pytest.fixture(scope="session")
def pg_server() -> Iterator[postgres.Postgres]:
    """Run until the session ends; when it is told to end (SIGTERM), the server goes with it.

    Nothing of it is needed once the machine stops, so no commit waits for the disk. Whoever kills
    a server runs one of his own. ``QAFILA_TEST_POSTGRES`` names the folder of a server that runs
    already: it is used and left alone (benchmarks/mutations.py runs the tests many times).
    """
    if given := os.environ.get("QAFILA_TEST_POSTGRES"):
        yield postgres.start(Path(given))
        return
    with ended_by_sigterm(lambda: pytest.exit("told to end", 128 + signal.SIGTERM)):
        folder = Path(tempfile.mkdtemp(prefix="qafila-pg-"))
        try:
            server = postgres.start(folder / "pg")
            with psycopg.connect(server.uri, autocommit=True) as connection:
                connection.execute("ALTER SYSTEM SET fsync = off")
                connection.execute("SELECT pg_reload_conf()")
            yield server
        finally:
            stop_server(folder / "pg", keep=False)
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def fresh(pg_server: postgres.Postgres) -> Callable[[Literal["ledger", "target"]], str]:
    """Return what makes a database with a schema: a copy of one to which it was applied."""

    @cache
    def template(schema: Literal["ledger", "target"]) -> str:
        name = f"{schema}_as_applied"
        with psycopg.connect(postgres.ensure_database(pg_server, name)) as connection:
            apply_schema(connection, schema)
        return name

    def copied(schema: Literal["ledger", "target"]) -> str:
        made, of = f"{schema}_{uuid.uuid4().hex[:8]}", template(schema)
        copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        with psycopg.connect(pg_server.uri, autocommit=True) as connection:
            connection.execute(copy.format(sql.Identifier(made), sql.Identifier(of)))
        if schema == "ledger":  # the copy is another ledger than the one it was copied from
            with psycopg.connect(pg_server.database(made)) as connection:
                connection.execute("UPDATE qafila.ledger_identity SET id = gen_random_uuid()")
        return pg_server.database(made)

    return copied


@pytest.fixture(autouse=True)
def home_of_a_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give a test that names no home one of its own; what it binds or keeps ends with it."""
    if "QAFILA_HOME" in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="qafila-home-") as folder:
        monkeypatch.setenv("QAFILA_HOME", folder)
        yield


@pytest.fixture
def ledger_url(fresh: Callable[[Literal["ledger", "target"]], str]) -> str:
    """Address of a fresh ledger with its schema applied."""
    return fresh("ledger")


@pytest.fixture
def ledger_named(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let whatever opens a ledger find the test's own, as QAFILA_LEDGER_URL names it."""
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)


@pytest.fixture
def target_url(fresh: Callable[[Literal["ledger", "target"]], str]) -> str:
    """Address of a fresh target database with its schema applied."""
    return fresh("target")


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(ledger_url, autocommit=True) as connection:
        yield connection
