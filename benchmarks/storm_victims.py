"""The processes that a storm kills: one loads and notes each batch, one applies changes.

    python -m benchmarks.storm_victims load|feed

``kill_storm`` starts them, and asks afterwards what was embedded twice.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.setting import ROOT
from qafila.errors import QafilaError
from tasks.live_sync.draining import drain

AWAY = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.AdminShutdown)
LOG_VARIABLE = "QAFILA_STORM_LOG"


def start(what: str, log: Path) -> subprocess.Popen[str]:
    """Start one that does ``what``: ``load`` or ``feed``; it waits for its assignment on stdin."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.storm_victims", what], cwd=ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false",
             LOG_VARIABLE: str(log)},
    )  # fmt: skip


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


def load_and_tell() -> None:
    """Work as the engine's own process does, and note each batch before its vectors are made."""
    from tasks.engine import loading, process

    log = os.open(os.environ[LOG_VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    real, chance = loading.load_claimed, random.Random()

    def noted(*args: Any, **kwargs: Any) -> Any:
        store, vectorise, shard = args[5], args[6], args[3]
        at = [0]
        claim = store.claim

        def claim_and_note(number: int, epoch: int) -> Any:
            mark = claim(number, epoch)
            at[0] = mark.rows
            return mark

        def vectorise_and_note(rows: Sequence[Any], chunks: Sequence[Any]) -> Any:
            told = {"shard": shard.number, "start": at[0], "rows": len(rows)}
            os.write(log, (json.dumps(told) + "\n").encode())
            at[0] += len(rows)
            if chance.random() < 0.5:  # half of the batches dawdle, so that the load outlasts kills
                time.sleep(chance.uniform(0.0, 0.25))
            return vectorise(rows, chunks)

        store.claim = claim_and_note
        try:
            return real(*args[:6], vectorise_and_note, **kwargs)
        finally:
            del store.claim

    import tasks.engine.worker as worker

    worker.load_claimed = noted  # type: ignore[assignment]
    sys.exit(process.main())


def feed() -> None:
    """Apply changes to the generation until killed."""
    from tasks.ledger import newest_generation, open_ledger, read_workload

    while True:
        try:
            with open_ledger() as ledger:
                workload, _ = read_workload(ledger, "aws-docs-search")
                generation = newest_generation(ledger, workload.name)
                assert generation is not None
                while True:
                    drain(ledger, workload, generation)
                    time.sleep(0.1)
        except (*AWAY, QafilaError):
            time.sleep(0.1)


if __name__ == "__main__":
    {"load": load_and_tell, "feed": feed}[sys.argv[1]]()
