"""Measure a whole backfill against the slower of its two ceilings, in one run.

    qafila bench backfill --rows 100000

The flow itself runs in a process of its own, beside a real Prefect server: plan, load (read,
chunk, embed with wordllama, write, checkpoint), index, compare. In the same run, with as many
processes on the same cores: the same texts only embedded, and the same chunks only written.
``ratio`` is rows a second of the load over the slower ceiling's; start-up of the processes counts
on both sides. ``peak_rss_mb`` is of the flow's process and its workers together, servers not
counted. ``prefect_share`` is the share of the flow's wall time in which none of our own steps was
at work; the steps that only speak to Prefect (plan and verdict as artifacts) count as Prefect's.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.update(PREFECT_SERVER_ANALYTICS_ENABLED="false", DO_NOT_TRACK="1")
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")

from benchmarks.machine import NotMeasured, show
from benchmarks.setting import ROOT, Setting, fill_source, ready, setting


def main() -> None:
    """Measure in a folder of its own, which is deleted at the end."""
    parser = argparse.ArgumentParser(prog="qafila bench backfill", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--characters", type=int, default=400, help="most of a text's body")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-rows", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=2, help="of the load and both ceilings")
    parser.add_argument("--no-index", action="store_true", help="leave HNSW out: shorter")
    parser.add_argument("--part", choices=["embed", "write", "flow"], help=argparse.SUPPRESS)
    parser.add_argument("--low", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--high", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part == "flow":
        flow_part(given)
        return
    if given.part:
        {"embed": embed_part, "write": write_part}[given.part](
            given.low, given.high, given.batch_rows
        )
        return
    raw: dict[str, list[float]] = {"embed_only": [], "write_only": [], "load": []}
    runs: list[Run] = []
    for _ in range(given.rounds):
        with setting() as here:  # a server of its own each time, so that none finds warm tables
            fill_source(here, given.rows, given.characters)
            workload, _ = ready(
                here,
                target={
                    "kind": "pgvector",
                    "block": "demo-target",
                    "full_text": "none",
                    "index": "none" if given.no_index else "hnsw",
                },
            )
            raw["embed_only"].append(ceiling("embed", given))
            runs.append(run_flow(workload.name, given, here))
            raw["load"].append(runs[-1].load_seconds)
            raw["write_only"].append(ceiling("write", given))
    embed, write, load = (given.rows / min(raw[k]) for k in ("embed_only", "write_only", "load"))
    longest = max(runs, key=lambda run: run.seconds)
    complete = all(run.complete for run in runs)
    show(
        "backfill",
        {
            "ratio": round(load / min(embed, write), 3),
            "peak_rss_mb": round(max(run.peak_rss_mb for run in runs), 1),
            "prefect_share": round(
                sum(run.prefect_share * run.seconds for run in runs)
                / sum(run.seconds for run in runs),
                4,
            ),
            "rows": given.rows,
            "workers": given.workers,
            "rows_per_s": round(load),
            "ceiling_embed_rows_per_s": round(embed),
            "ceiling_write_rows_per_s": round(write),
            "flow_seconds": round(longest.seconds, 2),
            "steps_seconds": {k: round(v, 2) for k, v in longest.steps.items()},
            "complete": complete,
        },
        seed=None,
        raw_seconds=raw,
        notes={
            "ratio": "load stage of the flow over the slower ceiling, best round of each",
            "others": "memory and seconds are of the worst round, Prefect's share is of all rounds",
        },
    )
    if not complete:
        raise NotMeasured("the comparison found a difference, so the load does not count")


def ceiling(part: str, given: argparse.Namespace) -> float:
    """Return the seconds that all rows take, ``--workers`` processes side by side."""
    each = -(-given.rows // given.workers)
    began = time.perf_counter()
    children = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "benchmarks.backfill",
                "--part",
                part,
                "--low",
                str(n * each),
                "--high",
                str(min(given.rows, (n + 1) * each)),
                "--batch-rows",
                str(given.batch_rows),
            ],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
            stdout=subprocess.PIPE,
        )
        for n in range(given.workers)
    ]
    spent = []
    for child in children:
        out, _ = child.communicate()
        if child.returncode:
            raise NotMeasured(f"a process of the {part} ceiling ended with {child.returncode}")
        spent.append(json.loads(out))
    if part == "embed":
        return time.perf_counter() - began - max(s["reading"] for s in spent)
    return max(float(s["seconds"]) for s in spent)


def _texts(low: int, high: int) -> list[str]:
    import psycopg

    from qafila.endpoints import reach_of
    from qafila.ledger.ledger import open_ledger, read_workload

    with open_ledger() as ledger:
        workload, _ = read_workload(ledger, "aws-docs-search")
        source = reach_of(ledger, workload).source
    assert source is not None
    with psycopg.connect(source["url"]) as connection:
        rows = connection.execute(
            "SELECT title || E'\\n' || body FROM operation WHERE operation_id > %s"
            " AND operation_id <= %s ORDER BY operation_id",
            [f"op-{low - 1:08}" if low else "", f"op-{high - 1:08}"],
        ).fetchall()
    return [r[0] for r in rows]


def embed_part(low: int, high: int, batch_rows: int) -> None:
    """Embed the texts of a range, nothing else; say how long reading them took beforehand."""
    from qafila.embedders.wordllama import WordLlamaEmbedder

    began = time.perf_counter()
    texts = _texts(low, high)
    reading = time.perf_counter() - began
    model = WordLlamaEmbedder(256)
    for start in range(0, len(texts), batch_rows):
        model.embed(texts[start : start + batch_rows])
    print(json.dumps({"reading": reading}))


def write_part(low: int, high: int, batch_rows: int) -> None:
    """Write prebuilt chunks of a range with their checkpoints, nothing else."""
    import numpy as np
    import psycopg

    from qafila.endpoints import reach_of
    from qafila.ledger.ledger import open_ledger, read_workload
    from qafila.stores.pgvector.store import PgvectorStore
    from qafila.stores.port import Checkpoint, Chunk, Place
    from qafila.workload.corpus import PgvectorTarget
    from qafila.workload.fingerprint import text_digest

    with open_ledger() as ledger:
        workload, _ = read_workload(ledger, "aws-docs-search")
        target = reach_of(ledger, workload).target
    texts = _texts(low, high)
    chunks = [
        Chunk(f"op-{low + n:08}", 0, 0, len(t), "", t, text_digest(t), ["everyone"])
        for n, t in enumerate(texts)
    ]
    vectors = np.random.default_rng(low).normal(size=(len(chunks), 256)).astype(np.float32)
    settings = workload.corpus.target
    assert isinstance(settings, PgvectorTarget)
    with psycopg.connect(target["url"], autocommit=True) as database:
        store = PgvectorStore(database, Place("ceiling", 1, "c" * 16, 256), settings)
        with database.transaction():
            database.execute("SELECT pg_advisory_xact_lock(1)")
            store.prepare()
        store.claim(low, 1)
        began = time.perf_counter()
        for start in range(0, len(chunks), batch_rows):
            part = chunks[start : start + batch_rows]
            mark = Checkpoint(low, 1, [part[-1].source_key], start + len(part), start + len(part))
            store.write(part, vectors[start : start + batch_rows], mark)
        print(json.dumps({"seconds": time.perf_counter() - began}))


@dataclass
class Run:
    """What a run of the flow took."""

    seconds: float = 0.0
    load_seconds: float = 0.0
    peak_rss_mb: float = 0.0
    prefect_share: float = 0.0
    complete: bool = False
    steps: dict[str, float] = field(default_factory=dict)


def run_flow(workload: str, given: argparse.Namespace, here: Setting) -> Run:
    """Run the real flow beside a Prefect server of its own; sample the memory of its family."""
    with prefect_server(here.folder / "prefect") as variables:
        child = subprocess.Popen(
            [
                sys.executable,
                "-W",
                "ignore",
                "-m",
                "benchmarks.backfill",
                "--part",
                "flow",
                "--workers",
                str(given.workers),
                "--batch-rows",
                str(given.batch_rows),
            ],
            cwd=ROOT,
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            text=True,
        )
        with _Memory(child.pid) as memory:
            out, _ = child.communicate()
    if child.returncode:
        raise NotMeasured(f"the flow ended with code {child.returncode}")
    return Run(**json.loads(out.splitlines()[-1]), peak_rss_mb=memory.peak_mb)


@contextmanager
def prefect_server(folder: Path) -> Iterator[dict[str, str]]:
    """Start a Prefect server on loopback; yield the variables that point at it."""
    from qafila.stack import prefect

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    api = prefect.api_url(port)
    variables = {
        "PREFECT_HOME": str(folder),
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    server = subprocess.Popen(
        prefect.server_command(port),
        env={**os.environ, **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while not prefect.healthy(api):
            if time.monotonic() > deadline or server.poll() is not None:
                raise NotMeasured("the Prefect server did not start")
            time.sleep(0.2)
        for path in ("/admin/version", "/csrf-token?client=bench"):  # as one that stands
            httpx.get(api + path, timeout=30)
        yield variables
    finally:
        server.terminate()
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def flow_part(given: argparse.Namespace) -> None:
    """Run the flow in this process and time our steps in it; print what it took."""
    from flows.embedding_backfill import EmbeddingBackfill, embedding_backfill
    from tasks import backfill_workers
    from tasks import embedding_backfill as steps

    spans: list[tuple[str, float, float]] = []
    for room, name in (
        (steps, "find_generation"),
        (steps, "check_source_and_target"),
        (steps, "plan_load"),
        (steps, "apply_plan"),
        (steps, "start_capture"),
        (steps, "begin"),
        (backfill_workers, "load_in_process"),
        (steps, "build_index"),
        (steps, "compare"),
    ):
        step = getattr(room, name)
        step.fn = _timed(name, step.fn, spans)
    request = EmbeddingBackfill(
        workload="aws-docs-search", workers=given.workers, batch_rows=given.batch_rows
    )
    began = time.perf_counter()
    body = embedding_backfill(request)
    seconds = time.perf_counter() - began
    steps: dict[str, float] = {}
    for name, start, end in spans:
        steps[name] = max(steps.get(name, 0.0), end - start)
    print(
        json.dumps(
            {
                "seconds": seconds,
                "load_seconds": float(body["seconds"]),
                "prefect_share": 1.0 - _covered(spans) / seconds,
                "complete": bool(body["digests_equal"]),
                "steps": steps,
            }
        )
    )


def _timed(name: str, step: Callable[..., Any], spans: list[Any]) -> Callable[..., Any]:
    import functools

    @functools.wraps(step)
    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return step(*args, **kwargs)
        finally:
            spans.append((name, began, time.perf_counter()))

    return timed


def _covered(spans: list[tuple[str, float, float]]) -> float:
    """Return the seconds in which at least one step was at work."""
    total, end = 0.0, float("-inf")
    for _, start, stop in sorted(spans, key=lambda s: s[1]):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


class _Memory:
    """Samples the resident memory of a process and its children ten times a second."""

    def __init__(self, pid: int) -> None:
        self.peak_mb = 0.0
        self._root = psutil.Process(pid)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(0.1):
            total = 0
            try:
                for process in [self._root, *self._root.children(recursive=True)]:
                    total += process.memory_info().rss
            except psutil.Error:
                continue
            self.peak_mb = max(self.peak_mb, total / 1e6)


if __name__ == "__main__":
    main()
