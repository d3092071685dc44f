"""Kill workers and stop PostgreSQL at random while rows change; then compare key by key.

    qafila bench kill-storm --kills 200 --seed 7 --rows 60000

An application inserts, updates and deletes all the while. Of the ``--kills``, six of ten hit one of
two processes that load, one of ten the index build, two of ten the process that applies the
changes, and one of ten the comparison. Each kill (SIGKILL) counts only when it met a living process
in the middle of its work: the process is stopped first, looked at, and killed only then.
``--stops`` times PostgreSQL (source, target and ledger in one) is stopped at once, without a
checkpoint, and started again. Whatever is killed is started again, as an operator would. At the end
source and target are compared row by row, by key, digest, fingerprint and vector, without the
engine's own comparison. ``most_redone_rows`` is the most rows that were embedded again after one
kill: one batch at most.
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
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import NotMeasured, show
from benchmarks.setting import Setting, fill_source, ready, setting
from benchmarks.storm_victims import AWAY, at_work, most_redone, start
from benchmarks.storm_world import Application, compare
from qafila.backfill.attempt import build_index
from qafila.backfill.claims import left_to_load, let_go_of_the_dead, list_shards
from qafila.backfill.load_plan import apply_plan, plan_load
from qafila.backfill.worker import Assignment
from qafila.endpoints import reach_of
from qafila.errors import QafilaError
from qafila.ledger.ledger import Generation
from qafila.live_sync.drain import drain
from qafila.live_sync.lifecycle import ensure_capture
from qafila.workload.model import Workload

ROLES = ("load", "index", "feed", "compare")


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
            here,
            live_sync=True,
            target={"kind": "pgvector", "block": "demo-target", "full_text": "none"},
        )
        storm = Storm(here, workload, generation, random.Random(given.seed), given.batch_rows)
        began = time.perf_counter()
        with Application(here, given.writes_per_s, given.seed) as application:
            storm.prepare()
            storm.rage(kills_by_role(given.kills), stops, given.rows)
        storm.finish()
        found, rows = compare(here, generation)
        redone = most_redone(storm.log)
        seconds = time.perf_counter() - began
    show(
        "kill-storm",
        {
            "kills": sum(storm.kills.values()),
            "stops": storm.stops,
            **found,
            "kills_of_loaders": storm.kills["load"],
            "kills_of_index_builds": storm.kills["index"],
            "kills_of_appliers": storm.kills["feed"],
            "kills_of_comparisons": storm.kills["compare"],
            "most_redone_rows": redone,
            "batch_rows": given.batch_rows,
            "writes": application.writes,
            "rows_at_the_end": rows,
        },
        seed=given.seed,
        raw_seconds={"storm": [seconds]},
    )
    if storm.kills != kills_by_role(given.kills) or storm.stops < stops:
        raise NotMeasured(f"only {storm.kills} kills and {storm.stops} stops took place")
    if any(found.values()) or redone > given.batch_rows:
        sys.exit(1)


@dataclass
class Storm:
    """One storm over one migration; ``chance`` decides whom it hits and when."""

    here: Setting
    workload: Workload
    generation: Generation
    chance: random.Random
    batch_rows: int
    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ROLES, 0))
    stops: int = 0
    pause_seconds: float = 0.0
    _children: list[subprocess.Popen[str]] = field(default_factory=list)
    _loading: bool = True

    def prepare(self) -> None:
        """Capture, plan, freeze: the application writes already."""
        self.log.touch()
        with self.here.ledger() as ledger:
            ensure_capture(ledger, self.workload, self.generation)
            plan = plan_load(ledger, self.generation, 1000, 2)
            apply_plan(ledger, self.generation, *plan)
        # the key that live sync replaces by; the flow builds it with the index, after the load

    def rage(self, kills: Mapping[str, int], stops: int, rows: int) -> None:
        """Kill and stop until all of it is spent: the loaders first, then one role after another.

        Raises:
            NotMeasured: the load ended before the kills that were meant for it were spent.
        """
        # two loaders, some four seconds from one kill to the next, half as much again to spare
        self.pause_seconds = 12 * kills["load"] / max(1, rows // self.batch_rows)
        of_loaders = stops - stops // 3
        self._spend("load", kills["load"], of_loaders)
        (self.here.folder / "calm").touch()
        deadline = time.monotonic() + 600
        while self._loading:
            if time.monotonic() > deadline:
                raise NotMeasured("the load did not end in ten minutes after its kills")
            self._keep_at_work("load")
            time.sleep(0.2)
        for role in ("index", "feed", "compare"):
            self._spend(role, kills[role], stops - of_loaders if role == "feed" else 0)
            self._end_all()
            if role == "index":
                self._build_index()

    def _spend(self, role: str, kills: int, stops: int) -> None:
        fates = ["kill"] * kills + ["stop"] * stops
        self.chance.shuffle(fates)
        for fate in fates:
            if fate == "stop":
                self._keep_at_work(role)
                time.sleep(self.chance.uniform(0.4, 1.2))
                self._stop_postgres()
            else:
                self._kill_one(role)

    def _keep_at_work(self, role: str) -> None:
        for child in [c for c in self._children if c.poll() is not None]:
            self._children.remove(child)
            assert child.stdin
            with suppress(BrokenPipeError):
                child.stdin.close()
        if role == "load":
            with self.here.ledger() as ledger:
                let_go_of_the_dead(ledger, self.generation)
                self._loading = left_to_load(ledger, self.generation) > 0
            if not self._loading:
                return
        while len(self._children) < (2 if role == "load" else 1):
            self._children.append(self._start(role))

    def _start(self, role: str) -> subprocess.Popen[str]:
        child = start(role, self.log, self.here.target_url, pause_seconds=self.pause_seconds)
        if role != "load":
            return child
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
        """Return where the processes note what they do."""
        return self.here.folder / "storm.log"

    def _kill_one(self, role: str) -> None:
        """Kill one process that is in the middle of its work; count the kill only then."""
        deadline, longest_wait = time.monotonic() + 120, 0.5
        while time.monotonic() < deadline:
            self._keep_at_work(role)
            if role == "load" and not self._loading:
                raise NotMeasured("the load ended before its kills were spent: give more --rows")
            working = [c for c in self._children if c.poll() is None and at_work(self.log, c.pid)]
            if not working:
                time.sleep(0.005)
                continue
            victim = self.chance.choice(working)
            time.sleep(self.chance.uniform(0.0, longest_wait))
            if victim.poll() is not None:
                continue
            victim.send_signal(signal.SIGSTOP)  # what is stopped can be looked at
            if not at_work(self.log, victim.pid):
                victim.send_signal(signal.SIGCONT)
                longest_wait /= 2  # its work is shorter than that
                continue
            victim.send_signal(signal.SIGKILL)
            if victim.wait() == -signal.SIGKILL:
                self.kills[role] += 1
                return
        raise NotMeasured(f"no process of the role {role} was met at its work for two minutes")

    def _end_all(self) -> None:
        for child in self._children:
            child.kill()
            child.wait()
            assert child.stdin
            with suppress(BrokenPipeError):
                child.stdin.close()
        self._children.clear()

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
                with self.here.ledger() as ledger:
                    build_index(ledger, self.generation)
            except (*AWAY, QafilaError):
                time.sleep(0.2)
            else:
                return
        raise NotMeasured("the index could not be built")

    def finish(self) -> None:
        """Apply what is left, in peace."""
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


def kills_by_role(kills: int) -> dict[str, int]:
    """Return how many kills each role gets; the loaders get what is left."""
    shares = {"index": kills // 10, "feed": kills // 5, "compare": kills // 10}
    shares = {role: max(1, number) for role, number in shares.items()}
    return {"load": kills - sum(shares.values()), **shares}


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
