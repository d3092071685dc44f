"""Migrate under an application that goes on reading and writing, in both layouts.

    qafila bench live --rows 200000 --writes-per-s 50

Starts a PostgreSQL and an application of its own on loopback. The application inserts, changes,
deletes and searches all the time: alone at first, then during the backfill, the index build, the
cut-over and the rollback; and once more alone, on a server and a table made anew, since a machine
does not stay as fast as it was for the half hour of a migration. ``write_p99_ratio`` is the p99 of
its writes from the plan to the end, over that of both times alone together;
``worst_phase_write_p99_ratio`` is the worst of load, index build and what follows, each by itself.
``longest_pause_cutover_ms`` and ``…_rollback_ms`` are the slowest call, reading or writing, that
was under way within a second of the switch; a call is timed from the moment it was due.
``lost_writes`` counts rows that do not have, in the old or the new generation, the vector of what
the application last wrote. On top stands the worse of both layouts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import live_migration as migration
from benchmarks.live_application import Layout, Orders, as_json
from benchmarks.live_threads import calmly, following
from benchmarks.machine import NotMeasured, show
from benchmarks.setting import ROOT, setting
from benchmarks.shield import shield

TOP = (
    "write_p99_ratio",
    "worst_phase_write_p99_ratio",
    "longest_pause_cutover_ms",
    "longest_pause_rollback_ms",
    "lost_writes",
    "errors",
)
# As PostgreSQL's manual advises (20.4.1, 14.4.6, 20.5.3): a quarter of the memory, checkpoints by
# time, and files of the log kept for what is written in bulk.
SERVER = {
    "shared_buffers": f"{psutil.virtual_memory().total // 4 // 2**20}MB",
    "max_wal_size": "8GB",
    "min_wal_size": f"{migration.LOG_FILES * 16}MB",
}
_WARM_UP_SECONDS = 3.0
_WARM_UP_QUERIES = 300
_AROUND_SECONDS = 1.0  # of a switch, on both sides
_LEAST_CALLS = 200


@dataclass(frozen=True)
class Call:
    """One call of the application; ``ms`` is from the moment it was due."""

    kind: str
    key: int
    text: int
    due: float
    begun: float
    ended: float
    error: str | None

    @property
    def ms(self) -> float:
        return (self.ended - self.due) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--writes-per-s", type=float, default=50.0)
    parser.add_argument("--reads-per-s", type=float, default=50.0)
    parser.add_argument(
        "--alone-seconds",
        type=float,
        default=120.0,
        help="without us: half of it before, half of it afterwards",
    )
    parser.add_argument("--hold-seconds", type=float, default=5.0, help="after each switch")
    parser.add_argument(
        "--speed", type=float, default=0.2, help="share of its full speed at which the load works"
    )
    parser.add_argument(
        "--shield",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep all other processes of the machine off the users' core "
        "until the end, as far as we may",
    )
    parser.add_argument("--layout", choices=["table", "column", "both"], default="both")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    layouts: list[Layout] = ["table", "column"] if given.layout == "both" else [given.layout]
    figures: dict[str, dict[str, Any]] = {}
    raw: dict[str, list[float]] = {}
    for layout in layouts:
        figures[layout], timings = measure(layout, given)
        raw |= {f"{layout}_{name}": seconds for name, seconds in timings.items()}
    show(
        "live",
        {
            **{name: max(found[name] for found in figures.values()) for name in TOP},
            "rows": given.rows,
            "writes_per_s": given.writes_per_s,
            "reads_per_s": given.reads_per_s,
            "speed": given.speed,
            "shield": given.shield,
            **figures,
        },
        seed=given.seed,
        raw_seconds=raw,
        notes={
            "cores": "one loading process, live sync (a round a second), all sessions of ours, "
            "vacuum and the ledger's own server keep to the last core, processes and index builds "
            "at niceness 10; the application and the rest of its server keep to the others: what "
            "an operator would do on a machine that both need",
            "shield": "true: nothing else of the machine ran on the users' core, with or without "
            "us; false: what looks at all processes from time to time counts as ours",
            "server": f"of the application's own: {SERVER}, else as PostgreSQL comes, and its log "
            "as full as that of a server that has run for a while; the ledger has one of its own, "
            "as it comes",
            "by_phase": "write_p99_ratio pools all writes of the migration, most of them while it "
            "loads; write_p99_ratio_by_phase tells load, index build and what follows apart",
            "arrivals": "writes and searches come at random times (Poisson), each at its rate",
            "busy_alone": "share of the machine that was busy without us, before and afterwards; "
            "far above a tenth, something else was running, and the ratio says nothing",
            "stolen": "share of the users' core that the host of a virtual machine gave to others "
            "while it was wanted; above a hundredth it is that which makes the slowest writes",
            "alone": "half of it before the migration, half of it afterwards on a server and a "
            "table made anew; far apart, the machine itself has changed meanwhile",
        },
    )


@dataclass(frozen=True)
class Work:
    """What the application is to do on a server of its own, and what we do to it."""

    orders: Orders
    moving: migration.Moving
    at: dict[str, float] = field(default_factory=dict)
    cores: dict[str, tuple[float, float]] = field(default_factory=dict)  # seconds: stolen, all

    def mark(self, name: str) -> None:
        self.at[name] = time.perf_counter()
        times = psutil.cpu_times(percpu=True)
        mine = [times[core] for core in migration.USERS_CORES]
        self.cores[name] = (sum(getattr(t, "steal", 0.0) for t in mine), sum(map(sum, mine)))

    def stolen(self, since: str, until: str) -> float:
        """Return the share of the users' cores that the host gave to others between two marks."""
        (before, begun), (after, ended) = self.cores[since], self.cores[until]
        return round((after - before) / (ended - begun), 4)

    def stay_alone(self, seconds: float) -> float:
        """Let it work without us; return the share of the machine that was busy."""
        time.sleep(_WARM_UP_SECONDS)
        psutil.cpu_percent()
        self.mark("alone")
        time.sleep(seconds)
        self.mark("begun")
        return round(psutil.cpu_percent() / 100, 3)

    def calls(self) -> list[Call]:
        return read_calls(Path(self.orders.journal))

    def written_keys(self) -> list[str]:
        """Return the keys that the application has written so far."""
        return list(dict.fromkeys(str(c.key) for c in self.calls() if c.kind != "search"))


@contextmanager
def at_work(layout: Layout, given: argparse.Namespace, seed: int) -> Iterator[Work]:
    """Start a server with the application's table on it; end all of it afterwards."""
    with ExitStack() as around:
        here = around.enter_context(setting(ledger_apart=True))
        here.configure(**SERVER)
        pool = migration.make_pool(here.folder / "pool.npz")
        stage = migration.make_ready(here, layout, given.rows)
        migration.use_log(here)
        journal = here.folder / "journal.jsonl"
        orders = Orders(
            url=here.target_url,
            layout=layout,
            workload=stage.workload.name,
            journal=str(journal),
            pool=str(pool),
            tables=stage.tables,
            new=stage.new,
            rows=given.rows,
            writes_per_s=given.writes_per_s,
            reads_per_s=given.reads_per_s,
            seed=seed,
            cores=migration.USERS_CORES,
        )
        if given.shield:
            servers = [here.server.pid, here.ledger_server.pid]
            moved = around.enter_context(shield(migration.OUR_CORES, servers))
            print(
                f"{moved} threads of other processes keep to core {migration.OUR_CORES[0]} until "
                "this ends; --no-shield leaves them.",
                file=sys.stderr,
            )
        moving = around.enter_context(migration.migrating(here, stage))
        yield Work(orders, moving)


def measure(
    layout: Layout, given: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Run one migration under the application; return its figures and raw timings."""
    with at_work(layout, given, given.seed) as work:
        moving, mark, pool = work.moving, work.mark, np.load(work.orders.pool)
        with application(work.orders):
            busy = [work.stay_alone(given.alone_seconds / 2)]
            calmly(lambda: moving.capture(work.written_keys))
            with following(moving):
                calmly(lambda: moving.load(given.speed))
                mark("loaded")
                calmly(moving.build_index)
                mark("indexed")
                calmly(moving.catch_up)
                calmly(lambda: moving.warm_up(pool["new"][:_WARM_UP_QUERIES]))
                time.sleep(2 * _AROUND_SECONDS)
                mark("cutover")
                moving.cut_over()
                mark("cut_over")
                time.sleep(given.hold_seconds)
                mark("rollback")
                moving.roll_back()
                mark("rolled_back")
                time.sleep(given.hold_seconds)
                mark("ended")
        calls = work.calls()
        moving.catch_up()
        lost = lost_writes(calls, moving, pool)
        differences = moving.differences()
    with at_work(layout, given, given.seed + 1) as again:
        with application(again.orders):
            busy.append(again.stay_alone(given.alone_seconds / 2))
        stolen = {
            "alone_before": work.stolen("alone", "begun"),
            "alone_afterwards": again.stolen("alone", "begun"),
            "during": work.stolen("begun", "ended"),
        }
        alone = [_alone(calls, work.at), _alone(again.calls(), again.at)]
    figures = figures_of(calls, alone, work.at, lost, differences, given.rows)
    return {**figures, "busy_alone": busy, "stolen": stolen}, {
        "writes_alone": [c.ms / 1e3 for part in alone for c in part if c.kind != "search"],
        "writes_during": [
            c.ms / 1e3 for c in calls if _writes(c, work.at["begun"], work.at["ended"])
        ],
        "steps": [b - a for a, b in pairwise(work.at.values())],
    }


def figures_of(
    calls: Sequence[Call],
    alone: Sequence[Sequence[Call]],
    at: Mapping[str, float],
    lost: int,
    differences: dict[str, int],
    rows: int,
) -> dict[str, Any]:
    """Compute what is printed of one layout; ``alone`` are the calls before and afterwards."""
    spans = {
        "during": ("begun", "ended"),
        "load": ("begun", "loaded"),
        "index": ("loaded", "indexed"),
        "after": ("indexed", "ended"),
    }
    parts = {"alone": [c for part in alone for c in part]}
    parts |= {f"alone_{n}": part for n, part in zip(("before", "afterwards"), alone, strict=True)}
    parts |= {n: [c for c in calls if at[a] <= c.due < at[b]] for n, (a, b) in spans.items()}
    writes = {n: [c.ms for c in part if c.kind != "search"] for n, part in parts.items()}
    reads = {n: [c.ms for c in part if c.kind == "search"] for n, part in parts.items()}
    if min(len(writes["alone"]), len(writes["during"])) < _LEAST_CALLS:
        raise NotMeasured(f"fewer than {_LEAST_CALLS} writes: raise --rows or --alone-seconds")
    errors = [c.error for c in calls if c.error]
    return {
        "write_p99_ratio": round(_p99(writes["during"]) / _p99(writes["alone"]), 3),
        "write_p99_ratio_by_phase": {
            name: round(_p99(writes[name]) / _p99(writes["alone"]), 3)
            for name in ("load", "index", "after")
            if writes[name]
        },
        "worst_phase_write_p99_ratio": round(
            max(_p99(writes[n]) for n in ("load", "index", "after") if writes[n])
            / _p99(writes["alone"]),
            3,
        ),
        "longest_pause_cutover_ms": _pause(calls, at["cutover"], at["cut_over"]),
        "longest_pause_rollback_ms": _pause(calls, at["rollback"], at["rolled_back"]),
        "longest_pause_alone_ms": round(max(c.ms for c in parts["alone"]), 2),
        "lost_writes": lost + sum(differences.values()),
        "errors": len(errors),
        "first_errors": sorted(set(errors))[:3],
        "writes": sum(c.kind != "search" for c in calls),
        "reads": sum(c.kind == "search" for c in calls),
        "write_p99_ms": {n: round(_p99(ms), 2) for n, ms in writes.items() if ms},
        "read_p99_ms": {n: round(_p99(ms), 2) for n, ms in reads.items() if ms},
        "cutover_ms": round((at["cut_over"] - at["cutover"]) * 1e3, 2),
        "rollback_ms": round((at["rolled_back"] - at["rollback"]) * 1e3, 2),
        "load_rows_per_s": round(rows / (at["loaded"] - at["begun"])),
        "index_s": round(at["indexed"] - at["loaded"], 1),
        "new_generation_against_source": differences,
    }


def lost_writes(calls: Sequence[Call], moving: migration.Moving, pool: Any) -> int:
    """Count rows of which a generation holds something else than the application last wrote."""
    wrote = {c.key: c for c in calls if c.kind != "search" and c.error is None}
    held = moving.vectors_of(list(wrote))
    lost = set()
    for name, found in held.items():
        for key, call in wrote.items():
            if call.kind == "delete":
                right = key not in found
            else:
                vector = found.get(key)
                right = vector is not None and np.allclose(vector, pool[name][call.text], atol=1e-4)
            if not right:
                lost.add(key)
    return len(lost)


def read_calls(journal: Path) -> list[Call]:
    return [Call(*json.loads(line)) for line in journal.read_text().splitlines()]


@contextmanager
def application(orders: Orders) -> Iterator[None]:
    """Run the application for the block, at the priority that it was given."""
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.live_application"],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(as_json(orders) + "\n")
        child.stdin.flush()
        if child.stdout.readline().strip() != "begun":
            raise NotMeasured("the application did not start")
        yield
        child.stdin.close()
        if child.wait(30) != 0:
            raise NotMeasured("the application ended with a fault")
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def _alone(calls: Sequence[Call], at: Mapping[str, float]) -> list[Call]:
    return [c for c in calls if at["alone"] <= c.due < at["begun"]]


def _writes(call: Call, since: float, until: float) -> bool:
    return call.kind != "search" and since <= call.due < until


def _pause(calls: Sequence[Call], since: float, until: float) -> float:
    """Return the slowest call that was under way around a switch, in milliseconds."""
    near = [
        c.ms
        for c in calls
        if c.ended >= since - _AROUND_SECONDS and c.due <= until + _AROUND_SECONDS
    ]
    return round(max(near), 2)


def _p99(ms: Sequence[float]) -> float:
    return float(np.quantile(np.array(ms), 0.99))


if __name__ == "__main__":
    main()
