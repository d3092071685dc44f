"""What the loading benchmarks stand on: a PostgreSQL of their own, texts, a ready generation."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.ending import ended_by_sigterm, stop_server
from blocks import EnvoyEdge, PostgresDatabase
from qafila.backfill.generations import open_for
from qafila.demo.corpus import Operation, read_corpus
from qafila.ledger.connections import record_connection
from qafila.ledger.ledger import Generation, apply_workload, move_phase
from qafila.routers.lookup import install_routes
from qafila.sql import apply_schema
from qafila.stack import postgres
from qafila.workload.model import Workload
from qafila.workload.phases import Event
from qafila.workload_file import read_file

ROOT = Path(__file__).parents[1]
WORKLOAD = ROOT / "workloads" / "aws-docs-search.yaml"


@dataclass
class Setting:
    """Addresses of one run; ``server`` is the benchmark's own PostgreSQL.

    ``ledger_server`` is the same, unless the ledger was wanted apart.
    """

    server: postgres.Postgres
    ledger_server: postgres.Postgres
    folder: Path
    ledger_url: str
    source_url: str
    target_url: str
    restarted: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def restart(self) -> None:
        """Start the server again after it was stopped, as it was started before."""
        data = self.folder / "pg"
        owner = data.stat()
        (data / "postmaster.pid").unlink(missing_ok=True)
        command = shlex.split((data / "postmaster.opts").read_text())
        demoted = {"user": owner.st_uid, "group": owner.st_gid} if os.getuid() == 0 else {}
        with (data / "log").open("a") as log:
            child = subprocess.Popen(  # type: ignore[call-overload]
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=data,
                start_new_session=True,
                **demoted,
            )
        self.restarted.append(child)
        self.server = postgres.Postgres(child.pid, self.server.uri)
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.target_url).close()
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, "the server does not start again"
                time.sleep(0.05)
            else:
                return

    def configure(self, **settings: str) -> None:
        """Write these into the server's configuration and start it again with them."""
        with self.target() as database:
            for name, value in settings.items():
                database.execute(
                    sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), value)
                )
        stop_server(self.folder / "pg")
        self.restart()

    def ledger(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.ledger_url, autocommit=True)

    def source(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.source_url, autocommit=True)

    def target(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.target_url, autocommit=True)


@contextmanager
def setting(*, ledger_apart: bool = False) -> Iterator[Setting]:
    """Start a PostgreSQL with three databases; delete everything at the end, on SIGTERM too.

    Meanwhile this process and what it starts have a home of their own, so that what the caller's
    home has bound and accepted neither hinders a benchmark nor is changed by it.
    ``ledger_apart``: the ledger gets a server of its own, as it has beside a customer's database.
    """
    with ended_by_sigterm():
        yield from _setting(ledger_apart)


def _setting(ledger_apart: bool) -> Iterator[Setting]:
    folder = Path(tempfile.mkdtemp(prefix="qafila-bench-"))
    before = {name: os.environ.get(name) for name in ("QAFILA_LEDGER_URL", "QAFILA_HOME")}
    restarted: list[subprocess.Popen[bytes]] = []
    try:
        server = postgres.start(folder / "pg")
        of_ledger = postgres.start(folder / "ledger") if ledger_apart else server
        here = Setting(server, of_ledger, folder, "", "", "", restarted)
        urls = [postgres.ensure_database(of_ledger, "ledger")]
        urls += [postgres.ensure_database(server, name) for name in ("source", "target")]
        for url, schema in ((urls[0], "ledger"), (urls[2], "target")):
            with psycopg.connect(url) as connection:
                apply_schema(connection, schema)  # type: ignore[arg-type]
        os.environ["QAFILA_LEDGER_URL"] = urls[0]
        os.environ["QAFILA_HOME"] = str(folder / "home")
        here.ledger_url, here.source_url, here.target_url = urls
        yield here
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        for data in ("pg", "ledger"):
            if (folder / data).exists():
                stop_server(folder / data, keep=False)
        for child in restarted:
            child.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


@cache
def operations_of_the_demo() -> tuple[Operation, ...]:
    """Return the demo's documents, read once a process: that takes more than a second."""
    return tuple(read_corpus()[0])


def fill_source(here: Setting, rows: int, characters: int) -> None:
    """Create the workload's table with ``rows`` real texts of at most so many characters each.

    Texts are those of the demo's corpus, over and over, each with a number of its own.
    """
    operations = operations_of_the_demo()
    with here.source() as source:
        source.execute(
            "CREATE TABLE operation (operation_id text PRIMARY KEY, title text, body text,"
            " readers text[] NOT NULL DEFAULT '{everyone}')"
        )
        with source.cursor().copy("COPY operation (operation_id, title, body) FROM STDIN") as copy:
            for n in range(rows):
                o = operations[n % len(operations)]
                copy.write_row((f"op-{n:08}", f"{o.title} {n}", o.body[:characters]))
        source.execute("ANALYZE operation")


def ready(here: Setting, **corpus: Any) -> tuple[Workload, Generation]:
    """Apply the demo's workload, parts of its corpus replaced; return a generation to be filled."""
    workload = read_file(WORKLOAD)
    merged = {**workload.corpus.model_dump(), **corpus}
    workload = Workload.model_validate({**workload.model_dump(), "corpus": merged})
    with here.ledger() as ledger:
        record_connection(ledger, "demo-source", PostgresDatabase(url=here.source_url))
        record_connection(ledger, "demo-target", PostgresDatabase(url=here.target_url))
        edge = here.folder / "edge"
        edge.mkdir(exist_ok=True)
        record_connection(
            ledger,
            "demo-edge",
            EnvoyEdge(
                directory=str(edge),
                admin_url="http://127.0.0.1:9",
                listen_url="http://127.0.0.1:9",
                allowed_loopback=["any"],
            ),
        )
        apply_workload(ledger, workload)
        install_routes(ledger, workload).close()
        generation = open_for(ledger, workload)
        for event in (Event.AUDIT_ACCEPTED, Event.DECISION_APPROVED, Event.PLAN_APPLIED):
            generation = move_phase(ledger, generation, event)
    return workload, generation
