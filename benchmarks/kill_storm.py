"""Kill workers and stop PostgreSQL at random while rows change; then compare key by key.

    qafila bench kill-storm --kills 200 --seed 7 --rows 60000

Two worker processes load while an application inserts, updates and deletes. ``--kills`` times one
of them gets SIGKILL at a random moment; ``--stops`` times PostgreSQL (source, target and ledger in
one) is stopped at once, without a checkpoint, and started again. Whatever is killed is started
again, as an operator would. Once all shards are loaded, what is killed is the process that applies
the changes. At the end source and target are compared row by row, by key, digest and fingerprint,
without the engine's own comparison. ``most_redone_rows`` is the most rows that were embedded
again after one kill: one batch at most.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psycopg

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import NotMeasured, show
from benchmarks.setting import ROOT, Setting, fill_source, ready, setting
from qafila.core.workload import Workload
from qafila.errors import QafilaError
from tasks import backfill
from tasks.engine.claims import left_to_load, let_go_of_the_dead, list_shards
from tasks.engine.worker import Assignment
from tasks.ledger import Generation
from tasks.live_sync.draining import drain
from tasks.live_sync.lifecycle import ensure_capture
from tasks.opening import reach_of
from tasks.stores.port import Place

AWAY = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.AdminShutdown)


def main() -> None:
    """Storm in a folder of its own, which is deleted at the end."""
    parser = argparse.ArgumentParser(prog="qafila bench kill-storm", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--stops", type=int, help="of PostgreSQL; default: a tenth of the kills")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--writes-per-s", type=float, default=40.0)
    parser.add_argument("--batch-rows", type=int, default=50)
    parser.add_argument("--feed", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--load", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.load:
        load_and_tell()
        return
    if given.feed:
        feed()
        return
    stops = given.kills // 10 if given.stops is None else given.stops
    with setting() as here:
        fill_source(here, given.rows, 200)
        workload, generation = ready(
            here, live_sync=True,
            target={"kind": "pgvector", "block": "demo-target", "full_text": "none"},
        )  # fmt: skip
        storm = Storm(here, workload, generation, random.Random(given.seed), given.batch_rows)
        began = time.perf_counter()
        with storm.application(given.writes_per_s, given.seed):
            storm.prepare()
            storm.rage(given.kills, stops)
        storm.finish()
        found, redone = storm.compare(), storm.most_redone()
        seconds = time.perf_counter() - began
    show(
        "kill-storm",
        {
            "kills": storm.kills,
            "stops": storm.stops,
            **found,
            "kills_of_loaders": storm.kills_of_loaders,
            "kills_of_appliers": storm.kills - storm.kills_of_loaders,
            "most_redone_rows": redone,
            "batch_rows": given.batch_rows,
            "writes": storm.writes,
            "rows_at_the_end": storm.rows_at_the_end,
        },
        seed=given.seed,
        raw_seconds={"storm": [seconds]},
    )
    if storm.kills < given.kills or storm.stops < stops:
        raise NotMeasured(f"only {storm.kills} kills and {storm.stops} stops took place")
    if any(found.values()) or redone > given.batch_rows:
        sys.exit(1)


@dataclass
class Storm:
    """One storm over one load; ``chance`` decides whom it hits and when."""

    here: Setting
    workload: Workload
    generation: Generation
    chance: random.Random
    batch_rows: int
    kills: int = 0
    kills_of_loaders: int = 0
    stops: int = 0
    writes: int = 0
    rows_at_the_end: int = 0
    _children: list[subprocess.Popen[str]] = field(default_factory=list)
    _loading: bool = True

    def prepare(self) -> None:
        """Capture, plan, freeze: the application writes already."""
        with self.here.ledger() as ledger:
            ensure_capture(ledger, self.workload, self.generation)
        plan = backfill.plan_load.fn(self.workload.name, self.generation, 1000, 2)
        backfill.apply_plan.fn(self.generation, *plan)
        # the key that live sync replaces by; the flow builds it with the index, after the load

    def rage(self, kills: int, stops: int) -> None:
        """Kill and stop until all of it is spent, keeping two processes at work in between."""
        fates = ["kill"] * kills + ["stop"] * stops
        self.chance.shuffle(fates)
        for fate in fates:
            self._keep_two_at_work()
            time.sleep(self.chance.uniform(0.4, 1.2))
            if fate == "stop":
                self._stop_postgres()
            else:
                self._kill_one()

    def _keep_two_at_work(self) -> None:
        for child in [c for c in self._children if c.poll() is not None]:
            self._children.remove(child)
            assert child.stdin
            with suppress(BrokenPipeError):
                child.stdin.close()
        if self._loading:
            with self.here.ledger() as ledger:
                let_go_of_the_dead(ledger, self.generation)
                self._loading = left_to_load(ledger, self.generation) > 0
            if not self._loading:
                self._build_index()
        wanted = ("--load", "--load") if self._loading else ("--feed",)
        while len(self._children) < len(wanted):
            self._children.append(self._start(wanted[0]))

    def _start(self, what: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.kill_storm", what], cwd=ROOT,
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false",
                 "QAFILA_STORM_LOG": str(self._log)},
        )  # fmt: skip
        assert child.stdin
        with self.here.ledger() as ledger:
            reach = reach_of(ledger, self.workload)
        assignment = Assignment(
            self.workload.name, self.generation.number, self.batch_rows, led=False
        )
        told = {"assignment": asdict(assignment), "reach": asdict(reach)}
        with suppress(BrokenPipeError):
            child.stdin.write(json.dumps(told) + "\n")
            child.stdin.flush()
        return child

    @property
    def _log(self) -> Path:
        return self.here.folder / "embedded.log"

    def _kill_one(self) -> None:
        living = [c for c in self._children if c.poll() is None]
        if not living:
            self._children.clear()
            self._keep_two_at_work()
            time.sleep(0.5)
            living = [c for c in self._children if c.poll() is None]
            if not living:
                return
        self.chance.choice(living).send_signal(signal.SIGKILL)
        self.kills += 1
        self.kills_of_loaders += self._loading

    def _stop_postgres(self) -> None:
        server = self.here.server
        os.kill(server.pid, signal.SIGQUIT)  # immediate: no checkpoint, as if the power went
        while _alive(server.pid):
            time.sleep(0.02)
        self.here.restart()
        self.stops += 1

    def _build_index(self) -> None:
        for _ in range(50):
            try:
                backfill.build_index.fn(self.generation)
            except (*AWAY, QafilaError):
                time.sleep(0.2)
            else:
                return
        raise NotMeasured("the index could not be built")

    def application(self, writes_per_s: float, seed: int) -> _Application:
        return _Application(self, writes_per_s, seed)

    def finish(self) -> None:
        """Load and apply what is left, in peace."""
        deadline = time.monotonic() + 600
        while self._loading:
            if time.monotonic() > deadline:
                raise NotMeasured("the load did not end in ten minutes after the storm")
            self._keep_two_at_work()
            time.sleep(0.2)
        for child in self._children:
            child.kill()
            child.wait()
        with self.here.ledger() as ledger:
            for _ in range(20):
                try:
                    drain(ledger, self.workload, self.generation)
                except (*AWAY, QafilaError):
                    time.sleep(1.0)
                else:
                    break
            shards = list_shards(ledger, self.generation)
        if any(s.state != "loaded" for s in shards):
            raise NotMeasured("some shards are not loaded")

    def most_redone(self) -> int:
        """Return the most rows that one process embedded although they were embedded before.

        A process that dies takes at most its batch with it, so whoever takes over a shard does at
        most one batch of it anew.
        """
        last: dict[int, tuple[int, int]] = {}
        most = 0
        for line in self._log.read_text().splitlines():
            with suppress(ValueError, KeyError):
                told = json.loads(line)
                shard, start, rows = told["shard"], told["start"], told["rows"]
                before = last.get(shard)
                if before is not None:
                    most = max(most, before[0] + before[1] - start)
                last[shard] = (start, rows)
        return most

    def compare(self) -> dict[str, int]:
        """Compare source and target row by row; every figure is 0 when nothing went wrong."""
        expected = {}
        with self.here.source() as source:
            rows = source.execute("SELECT operation_id, title, body FROM operation").fetchall()
            for key, title, body in rows:
                text = "\n".join(t for t in (title, body) if t)
                expected[key] = hashlib.sha256(text.encode()).digest()
        self.rows_at_the_end = len(expected)
        place = Place(self.workload.name, self.generation.number, self.generation.fingerprint, 256)
        seen: dict[str, int] = {}
        stale = extra = mixed = 0
        with self.here.target() as target:
            rows = target.execute(
                f"SELECT source_key, text_digest, fingerprint FROM qafila.{place.name}"  # type: ignore[arg-type]
            ).fetchall()
        for key, digest, fingerprint in rows:
            seen[key] = seen.get(key, 0) + 1
            extra += key not in expected
            stale += key in expected and bytes(digest) != expected[key]
            mixed += fingerprint != place.fingerprint
        return {
            "missing": sum(key not in seen for key in expected),
            "duplicates": sum(times - 1 for times in seen.values()),
            "stale": stale + extra,
            "fingerprint_mixed": mixed,
        }


class _Application:
    """Inserts, updates and deletes at random until it is told to stop; waits out every stop."""

    def __init__(self, storm: Storm, writes_per_s: float, seed: int) -> None:
        self._storm, self._pause = storm, 1.0 / writes_per_s
        self._chance = random.Random(seed + 1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> _Application:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._storm.here.source() as source:
                    while not self._stop.wait(self._pause):
                        self._write(source)
                        self._storm.writes += 1
            except AWAY:
                self._stop.wait(0.1)

    def _write(self, source: psycopg.Connection[Any]) -> None:
        n, kind = self._chance.randrange(10**8), self._chance.random()
        word = f"{n:x}"
        if kind < 0.3:
            source.execute(
                "INSERT INTO operation (operation_id, title, body) VALUES (%s, %s, %s)"
                " ON CONFLICT DO NOTHING",
                [f"op-{self._chance.randrange(10**8):08}", f"New {word}", f"written live {word}"],
            )
        elif kind < 0.7:
            source.execute(
                "UPDATE operation SET body = %s WHERE operation_id = (SELECT operation_id"
                " FROM operation WHERE operation_id >= %s ORDER BY operation_id LIMIT 1)",
                [f"changed live {word}", self._some_key()],
            )
        elif kind < 0.9:
            source.execute(
                "DELETE FROM operation WHERE operation_id = (SELECT operation_id FROM operation"
                " WHERE operation_id >= %s ORDER BY operation_id LIMIT 1)",
                [self._some_key()],
            )
        else:  # several at once, and sometimes in vain
            with suppress(_Changed), source.transaction():
                for _ in range(5):
                    source.execute(
                        "UPDATE operation SET title = %s WHERE operation_id = (SELECT operation_id"
                        " FROM operation WHERE operation_id >= %s ORDER BY operation_id LIMIT 1)",
                        [f"Renamed {word}", self._some_key()],
                    )
                if kind > 0.97:
                    raise _Changed

    def _some_key(self) -> str:
        return f"op-{self._chance.randrange(70_000):08}"


class _Changed(Exception):
    """The application changed its mind."""


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


def load_and_tell() -> None:
    """Work as the engine's own process does, and note each batch before its vectors are made."""
    from tasks.engine import loading, process

    log = os.open(os.environ["QAFILA_STORM_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
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
    main()
