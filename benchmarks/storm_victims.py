"""The processes that a storm kills, one for each role of a migration.

    python -m benchmarks.storm_victims load|index|feed|compare

Each notes in a log when it begins and ends a piece of work, so that ``kill_storm`` can hit it in
the middle of one, and can tell afterwards what was embedded twice.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.setting import ROOT
from qafila.errors import QafilaError
from qafila.live_sync.drain import drain

AWAY = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.AdminShutdown)
LOG_VARIABLE = "QAFILA_STORM_LOG"
PAUSE_VARIABLE = "QAFILA_STORM_PAUSE"


def start(
    what: str, log: Path, target_url: str, *, pause_seconds: float = 0.0
) -> subprocess.Popen[str]:
    """Start one that does ``what``; a loader waits for its assignment on stdin.

    ``pause_seconds``: how long a loader pauses in a batch, on average, while there is no file
    ``calm`` beside the log; so a load outlasts the kills that are meant for it.
    """
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.storm_victims", what],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            LOG_VARIABLE: str(log),
            PAUSE_VARIABLE: str(pause_seconds),
            "QAFILA_STORM_TARGET": target_url,
        },
    )


def most_redone(log: Path) -> int:
    """Return the most rows that one process embedded although they were embedded before.

    A process that dies takes at most its batch with it, so whoever takes over a shard does at
    most one batch of it anew.
    """
    last: dict[int, tuple[int, int]] = {}
    most = 0
    for line in log.read_text().splitlines():
        with suppress(ValueError, KeyError):
            told = json.loads(line)
            shard, start, rows = told["shard"], told["start"], told["rows"]
            before = last.get(shard)
            if before is not None:
                most = max(most, before[0] + before[1] - start)
            last[shard] = (start, rows)
    return most


def at_work(log: Path, pid: int) -> bool:
    """Say whether a process noted a piece of work that it has begun and not ended."""
    begun = False
    for line in log.read_text().splitlines():
        with suppress(ValueError, KeyError):
            noted = json.loads(line)
            if noted["pid"] == pid:
                begun = not noted.get("ended", False)
    return begun


def note(**what: Any) -> None:
    """Append one line to the log, whole: a process that is killed leaves no half of one."""
    log = os.open(os.environ[LOG_VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, (json.dumps({"pid": os.getpid(), **what}) + "\n").encode())
    os.close(log)


def load_and_tell() -> None:
    """Work as the engine's own process does, and note each batch before its vectors are made."""
    from qafila.backfill import load as loading
    from qafila.backfill import process

    real, chance = loading.load_claimed, random.Random()
    pause, calm = float(os.environ[PAUSE_VARIABLE]), Path(os.environ[LOG_VARIABLE]).parent / "calm"

    def noted(*args: Any, **kwargs: Any) -> Any:
        store, vectorise, shard = args[5], args[6], args[3]
        at = [0]
        claim = store.claim

        def claim_and_note(number: int, epoch: int) -> Any:
            mark = claim(number, epoch)
            at[0] = mark.rows
            return mark

        def vectorise_and_note(rows: Sequence[Any], chunks: Sequence[Any]) -> Any:
            note(shard=shard.number, start=at[0], rows=len(rows))
            at[0] += len(rows)
            if not calm.exists():
                time.sleep(chance.uniform(0.0, 2 * pause))
            return vectorise(rows, chunks)

        store.claim = claim_and_note
        try:
            return real(*args[:6], vectorise_and_note, **kwargs)
        finally:
            del store.claim

    import qafila.backfill.worker as worker

    worker.load_claimed = noted  # type: ignore[assignment]
    sys.exit(process.main())


def again_and_again(work: Callable[[Any, Any, Any], object], *, pause_seconds: float) -> None:
    """Do a piece of work on the newest generation until killed; note when it begins and ends."""
    from qafila.ledger.ledger import newest_generation, open_ledger, read_workload

    while True:
        try:
            with open_ledger() as ledger:
                workload, _ = read_workload(ledger, "aws-docs-search")
                generation = newest_generation(ledger, workload.name)
                assert generation is not None
                while True:
                    note(work=work.__name__)
                    work(ledger, workload, generation)
                    note(work=work.__name__, ended=True)
                    time.sleep(pause_seconds)
        except (*AWAY, QafilaError):
            note(work=work.__name__, ended=True)
            time.sleep(0.1)


def index(ledger: Any, workload: Any, generation: Any) -> None:
    """Drop the index for vectors where there is one, and build it as a flow does."""
    from qafila.backfill.attempt import build_index
    from qafila.stores.port import Place

    place = Place(generation.workload, generation.number, generation.fingerprint, 256)
    with psycopg.connect(os.environ["QAFILA_STORM_TARGET"], autocommit=True) as target:
        names = target.execute(
            "SELECT indexrelid::regclass::text FROM pg_index"
            " JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam"
            " WHERE indrelid = to_regclass(%s) AND amname = 'hnsw'",
            [f"qafila.{place.name}"],
        ).fetchall()
        for (name,) in names:
            target.execute(f"DROP INDEX {name}")
    build_index(ledger, generation)


def compare(ledger: Any, workload: Any, generation: Any) -> None:
    """Compare source and target, as a load ends."""
    from qafila.backfill.verify import verify_generation

    verify_generation(ledger, generation)


if __name__ == "__main__":
    match sys.argv[1]:
        case "load":
            load_and_tell()
        case "index":
            again_and_again(index, pause_seconds=0.0)
        case "feed":
            again_and_again(drain, pause_seconds=0.2)
        case "compare":
            again_and_again(compare, pause_seconds=0.0)
