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
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import NotMeasured, show
from benchmarks.setting import Setting, fill_source, ready, setting
from benchmarks.storm_victims import AWAY, most_redone, start
from benchmarks.storm_world import Application, compare
from qafila.core.workload import Workload
from qafila.errors import QafilaError
from tasks import backfill
from tasks.engine.claims import left_to_load, let_go_of_the_dead, list_shards
from tasks.engine.worker import Assignment
from tasks.ledger import Generation
from tasks.live_sync.draining import drain
from tasks.live_sync.lifecycle import ensure_capture
from tasks.opening import reach_of


def main() -> None:
    """Storm in a folder of its own, which is deleted at the end."""
    parser = argparse.ArgumentParser(prog="qafila bench kill-storm", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--stops", type=int, help="of PostgreSQL; default: a tenth of the kills")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--writes-per-s", type=float, default=40.0)
    parser.add_argument("--batch-rows", type=int, default=50)
    given = parser.parse_args()
    stops = given.kills // 10 if given.stops is None else given.stops
    with setting() as here:
        fill_source(here, given.rows, 200)
        workload, generation = ready(
            here, live_sync=True,
            target={"kind": "pgvector", "block": "demo-target", "full_text": "none"},
        )  # fmt: skip
        storm = Storm(here, workload, generation, random.Random(given.seed), given.batch_rows)
        began = time.perf_counter()
        with Application(here, given.writes_per_s, given.seed) as application:
            storm.prepare()
            storm.rage(given.kills, stops)
        storm.finish()
        found, rows = compare(here, generation)
        redone = most_redone(storm.log)
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
            "writes": application.writes,
            "rows_at_the_end": rows,
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
        wanted = ("load", "load") if self._loading else ("feed",)
        while len(self._children) < len(wanted):
            self._children.append(self._start(wanted[0]))

    def _start(self, what: str) -> subprocess.Popen[str]:
        child = start(what, self.log)
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
    def log(self) -> Path:
        """Return where loaders note what they embed."""
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


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    main()
