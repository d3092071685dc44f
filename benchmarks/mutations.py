"""Change what decides, one small change at a time, and see whether a test notices.

``python -m benchmarks.mutations [AREA ...] [--python N] [--sql N] [--seed S]`` copies the
repository to a temporary folder, runs the tests of each area once as they are and once per
mutation, and prints each mutation that no test noticed. ``--python N`` and ``--sql N`` take a
sample of so many mutations an area, the same one for the same seed; without them all are tried.
``--only TEXT`` tries those whose place or change holds the text, and ``--list`` runs nothing. Exit
1 when fewer than 85 per cent of an area were noticed, or when its tests fail unchanged.

Each run is a fork of this process, which has imported the libraries that the tests use but nothing
of the product, and all runs share one PostgreSQL. So a run costs its tests and little else.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg import sql

from benchmarks.ending import stop_server
from benchmarks.mutation import Mutation
from benchmarks.mutation_areas import AREAS, Area
from benchmarks.python_mutations import python_mutations
from benchmarks.sql_mutations import sql_mutations

ROOT = Path(__file__).parents[1]
LEAST = 0.85
SEED = 15
_COPIED = "QAFILA_MUTATIONS_IN"  # set in the copy
_LIBRARIES = (
    "httpx",
    "hypothesis",
    "jsonschema",
    "numpy",
    "pgvector.psycopg",
    "prefect",
    "psycopg",
    "pydantic",
    "scipy.stats",
    "starlette",
    "vl_convert",
    "yaml",
)
_START = (
    "import sys, pathlib; from qafila.stack.postgres import start as s; "
    "print(s(pathlib.Path(sys.argv[1])).uri)"
)


@dataclass
class Runs:
    """Runs of one area's tests: those that noticed a mutation before are asked first."""

    tests: tuple[str, ...]
    server: str
    limit_s: float = 900.0
    killers: list[str] = field(default_factory=list)

    def passes(self) -> bool:
        """Return whether all tests pass on the tree as it is now; one that hangs does not."""
        reading, writing = os.pipe()
        begun = time.monotonic()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            _run_tests([*self.killers, *self.tests], writing)
        os.close(writing)
        try:
            while os.waitpid(pid, os.WNOHANG) == (0, 0):
                if time.monotonic() - begun > self.limit_s:
                    _kill(pid)
                    os.waitpid(pid, 0)
                    return False
                time.sleep(0.02)
            failed = os.read(reading, 10_000).decode().splitlines()
        finally:
            os.close(reading)
            self._drop_databases()
        if failed and failed[-1] == "passed":
            return True
        for nodeid in failed:
            with suppress(ValueError):
                self.killers.remove(nodeid)
            self.killers.insert(0, nodeid)
        return False

    def _drop_databases(self) -> None:
        with psycopg.connect(self.server, autocommit=True) as connection:
            names = connection.execute(
                "SELECT datname FROM pg_database WHERE datname <> 'postgres' AND NOT datistemplate"
            ).fetchall()
            for (name,) in names:
                drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
                connection.execute(drop)


class _Failures:
    """Tell the process that forked us which test failed."""

    def __init__(self, writing: int) -> None:
        self._writing = writing

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            os.write(self._writing, f"{report.nodeid}\n".encode())


def _run_tests(tests: Sequence[str], writing: int) -> None:
    os.setsid()
    silent = os.open(os.environ.get("QAFILA_MUTATIONS_LOG", os.devnull), os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:rerunfailures", "-p", "no:xdist"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # loaded before the fork
    code = 1
    with suppress(BaseException):
        code = pytest.main([*options, *tests], plugins=[_Failures(writing)])
    if code == 0:
        os.write(writing, b"passed\n")
    os._exit(0)


def _kill(pid: int) -> None:
    """End a run of ours that hangs, with all that its tests started."""
    run = psutil.Process(pid)
    for process in [*run.children(recursive=True), run]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


@contextmanager
def _server() -> Iterator[str]:
    """Run the PostgreSQL that all tests share (tests/conftest.py), in a process of its own."""
    folder = Path(tempfile.mkdtemp(prefix="qafila-pg-"))
    try:
        started = subprocess.run(
            [sys.executable, "-c", _START, str(folder / "pg")],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        uri = started.stdout.strip().splitlines()[-1]
        with psycopg.connect(uri, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        os.environ["QAFILA_TEST_POSTGRES"] = str(folder / "pg")
        yield uri
    finally:
        stop_server(folder / "pg", keep=False)
        shutil.rmtree(folder, ignore_errors=True)


def chosen(area: Area, asked: argparse.Namespace) -> tuple[list[Mutation], int]:
    """Return the mutations of an area that are tried, and how many there are in all."""
    kinds = (
        ([m for path in area.modules for m in python_mutations(ROOT, path)], asked.python),
        ([m for path, names in area.sql for m in sql_mutations(ROOT, path, names)], asked.sql),
    )
    taken: list[Mutation] = []
    for found, most in kinds:
        if most is not None and most < len(found):
            drawn = random.Random(asked.seed).sample(range(len(found)), most)
            found = [found[n] for n in sorted(drawn)]
        taken += found
    if asked.only:
        taken = [m for m in taken if any(t in f"{m.path}:{m.where} {m.what}" for t in asked.only)]
    return taken, sum(len(found) for found, _ in kinds)


def _try(area: Area, taken: Sequence[Mutation], in_all: int, name: str, server: str) -> bool:
    runs = Runs(area.tests, server)
    begun = time.monotonic()
    if not runs.passes():
        print(f"{name}: the tests fail without any mutation: {runs.killers}", flush=True)
        return False
    took = time.monotonic() - begun
    runs.limit_s = 3 * took + 20
    print(f"{name}: the tests pass in {took:.0f} s; {len(taken)} of {in_all} mutations", flush=True)
    sys.dont_write_bytecode = True  # of a mutated module; that of the others is there by now
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    killed = 0
    for n, one in enumerate(taken, 1):
        path = ROOT / one.path
        before, times = path.read_bytes(), path.stat()
        path.write_text(one.text, encoding="utf-8")
        try:
            survived = runs.passes()
        finally:
            path.write_bytes(before)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        killed += not survived
        if survived:
            print(f"SURVIVED {one.path}:{one.where}: {one.what}", flush=True)
        elif n % 20 == 0:
            print(f"  {name}: {killed} of {n}, {time.monotonic() - begun:.0f} s", flush=True)
    share = killed / len(taken) if taken else 1.0
    print(f"{name}: {killed} of {len(taken)} killed, {share:.1%}", flush=True)
    return share >= LEAST


def main(arguments: Sequence[str]) -> int:
    """Try the mutations of the areas that were asked for; return 1 where too many survived."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutations")
    parser.add_argument("areas", nargs="*", metavar="AREA", help=", ".join(AREAS))
    parser.add_argument("--python", type=int, metavar="N", help="mutations an area of Python")
    parser.add_argument("--sql", type=int, metavar="N", help="mutations an area of SQL")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", action="append", metavar="TEXT")
    parser.add_argument("--list", action="store_true")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.areas) - set(AREAS):
        parser.error(
            f"no area is called {', '.join(sorted(unknown))}; there are {', '.join(AREAS)}"
        )
    names = asked.areas or list(AREAS)
    if asked.list:
        for name in names:
            for one in chosen(AREAS[name], asked)[0]:
                print(f"{name} {one.path}:{one.where}: {one.what}")
        return 0
    if os.environ.get(_COPIED) != str(ROOT):
        return _in_a_copy(arguments)
    for library in _LIBRARIES:
        importlib.import_module(library)
    with _server() as server:
        done = [_try(AREAS[name], *chosen(AREAS[name], asked), name, server) for name in names]
    return 0 if all(done) else 1


def _in_a_copy(arguments: Sequence[str]) -> int:
    hidden = shutil.ignore_patterns(".venv", ".git", ".qafila", ".*_cache", ".hypothesis")
    with tempfile.TemporaryDirectory(prefix="qafila-mutations-") as folder:
        tree = Path(folder).resolve() / "tree"
        shutil.copytree(ROOT, tree, ignore=hidden)
        kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment = {**kept, _COPIED: str(tree), "PYTHONPATH": str(tree)}
        command = [sys.executable, "-m", "benchmarks.mutations", *arguments]
        return subprocess.run(command, cwd=tree, env=environment, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
