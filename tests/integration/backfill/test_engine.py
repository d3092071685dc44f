"""The engine while it runs: steered, taken over, killed, its servers gone for a while."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from qafila.backfill import worker
from qafila.backfill.claims import list_shards
from qafila.backfill.control import ask_of_load, beat_load, holding, read_load
from qafila.backfill.load import Loaded, Vectored
from qafila.backfill.patience import PatientLedger
from qafila.backfill.progress import read_progress, tell
from qafila.backfill.pulse import Stopped
from qafila.backfill.supervisor import run_worker
from qafila.backfill.vectors import Vectorise
from qafila.backfill.verify import verify_generation
from qafila.backfill.worker import Assignment, work
from qafila.endpoints import reach_of
from qafila.errors import BackfillHalted, Refused
from qafila.ledger.ledger import Generation, apply_workload, read_workload
from tests.integration.backfill.conftest import ROWS
from tests.support.corpus import demo_workload

Ledger = psycopg.Connection


@pytest.fixture
def assignment(generation: Generation) -> Assignment:
    return Assignment(generation.workload, generation.number, batch_rows=25, led=False)


@pytest.fixture
def patient(generation: Generation) -> Iterator[PatientLedger]:
    with PatientLedger(generation.workload) as patient:
        yield patient


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each batch of 25 rows take some 30 ms, so that a load lasts about two seconds."""
    real = Vectorise.__call__

    def slowly(self: Vectorise, *batch: object) -> Vectored:
        time.sleep(0.03)
        return real(self, *batch)  # type: ignore[arg-type]

    monkeypatch.setattr(Vectorise, "__call__", slowly)


@pytest.fixture
def at_work(
    assignment: Assignment, ledger: Ledger, patient: PatientLedger, generation: Generation
) -> Iterator[Future]:
    """A worker in a thread, at work on its first rows; a load that somebody coordinates."""
    with ThreadPoolExecutor(1) as pool, holding(patient, generation) as epoch:
        stop = threading.Event()
        beating = threading.Thread(target=beat, args=[generation, epoch, stop])
        beating.start()
        future = pool.submit(work, replace(assignment, led=True))
        until(lambda: loaded(ledger, generation) > 0)
        yield future
        stop.set()
        beating.join()


def beat(generation: Generation, epoch: int, stop: threading.Event) -> None:
    from qafila.ledger.ledger import open_ledger

    with open_ledger() as ledger:
        while not stop.wait(0.5):
            beat_load(ledger, generation, epoch)


def loaded(ledger: Ledger, generation: Generation) -> int:
    return read_progress(ledger, generation).rows_loaded


def until(holds: Callable[[], bool], seconds: float = 20.0) -> float:
    """Wait until something holds; return the seconds it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds
        time.sleep(0.01)
    return time.monotonic() - began


def in_target(ledger: Ledger, generation: Generation, url: str) -> int:
    with psycopg.connect(url) as target:
        row = target.execute("SELECT coalesce(sum(rows_done), 0) FROM qafila.checkpoint").fetchone()
    assert row
    return int(row[0])


@pytest.mark.timing
@pytest.mark.usefixtures("slow")
def test_a_pause_holds_within_a_second_and_going_on_loses_nothing(
    at_work: Future, ledger: Ledger, generation: Generation, target_url: str
) -> None:
    ask_of_load(ledger, generation, state="paused", by="operator", reason="a backup runs")
    time.sleep(1.0)  # what is promised
    held = in_target(ledger, generation, target_url)
    time.sleep(0.5)
    assert in_target(ledger, generation, target_url) == held < ROWS
    load = read_load(ledger, generation)
    assert load is not None
    assert load.sentence() == "paused by operator: a backup runs"
    ask_of_load(ledger, generation, state="running", by="operator")
    at_work.result(20)
    assert verify_generation(ledger, generation).complete


@pytest.mark.timing
@pytest.mark.usefixtures("slow")
def test_a_cancel_stops_within_a_second_and_a_new_load_goes_on(
    at_work: Future, ledger: Ledger, generation: Generation, assignment: Assignment
) -> None:
    ask_of_load(ledger, generation, state="cancelled", by="operator", reason="wrong day")
    began = time.monotonic()
    with pytest.raises(Stopped, match="wrong day"):
        at_work.result(20)
    assert time.monotonic() - began < 1.5
    assert all(s.state != "claimed" for s in list_shards(ledger, generation))
    before = loaded(ledger, generation)
    assert 0 < before < ROWS
    ask_of_load(ledger, generation, state="running", by="operator")
    done = work(assignment)
    assert sum(part.rows for part in done) <= ROWS - before + 25 * 8
    assert verify_generation(ledger, generation).complete


@pytest.mark.usefixtures("slow")
def test_half_the_speed_takes_about_twice_as_long(
    at_work: Future, ledger: Ledger, generation: Generation
) -> None:
    ask_of_load(ledger, generation, speed=0.25, by="operator", reason="month's end")
    time.sleep(0.5)
    before, began = loaded(ledger, generation), time.monotonic()
    time.sleep(2.0)
    slow_rate = (loaded(ledger, generation) - before) / (time.monotonic() - began)
    assert slow_rate < 0.5 * 25 / 0.03  # unhindered it is at most a batch every 30 ms
    ask_of_load(ledger, generation, speed=1.0, by="operator")
    at_work.result(30)


def test_the_second_operator_is_told_who_loads(
    patient: PatientLedger, generation: Generation
) -> None:
    with (
        holding(patient, generation, "run-1"),
        pytest.raises(Refused, match=rf"process {os.getpid()} .*flow run run-1") as refused,
        holding(patient, generation, "run-2"),
    ):
        pass
    assert "qafila load cancel" in refused.value.remedy
    with holding(patient, generation, "run-2"):
        pass


def test_a_load_whose_coordinator_died_is_taken_over_at_once(
    ledger: Ledger, patient: PatientLedger, generation: Generation
) -> None:
    with holding(patient, generation, "run-1") as first:
        ledger.execute("UPDATE qafila.load SET holder_pid = 2147483646")  # no such process
        with holding(patient, generation, "run-2") as second:
            assert second > first
            assert not beat_load(ledger, generation, first)


@pytest.mark.usefixtures("slow")
def test_workers_stop_when_nobody_coordinates(
    generation: Generation, assignment: Assignment, patient: PatientLedger
) -> None:
    with holding(patient, generation):
        pass
    with pytest.raises(Stopped, match="nobody coordinates") as stopped:
        work(replace(assignment, led=True))
    assert stopped.value.remedy == f"qafila run embedding-backfill {generation.workload}"


@pytest.mark.usefixtures("slow")
def test_workers_of_a_run_stop_when_another_one_coordinates(
    generation: Generation, assignment: Assignment, patient: PatientLedger
) -> None:
    with holding(patient, generation) as epoch:
        of_before = replace(assignment, led=True, epoch=epoch - 1)
        with pytest.raises(Stopped, match="another run coordinates"):
            work(of_before)


def test_a_run_that_never_heard_the_answer_holds_what_it_asked_for(
    patient: PatientLedger, generation: Generation
) -> None:
    """As when the ledger goes away after it has committed, and the question is put again."""
    with (
        holding(patient, generation, "run-1") as first,
        holding(patient, generation, "run-1") as again,
    ):
        assert again == first


def test_a_worker_process_that_is_told_to_stop_says_how_it_goes_on(
    ledger: Ledger, patient: PatientLedger, generation: Generation, assignment: Assignment
) -> None:
    workload, _ = read_workload(ledger, generation.workload)
    with holding(patient, generation):
        ask_of_load(ledger, generation, state="cancelled", by="operator", reason="wrong day")
        with pytest.raises(Stopped, match="wrong day") as stopped:
            run_worker(replace(assignment, led=True), reach_of(ledger, workload))
    assert stopped.value.remedy == f"qafila run embedding-backfill {generation.workload}"


def test_a_killed_worker_process_is_started_again(
    generation: Generation, assignment: Assignment, ledger: Ledger
) -> None:
    workload, _ = read_workload(ledger, generation.workload)
    notes: list[str] = []
    killed: list[int] = []

    def kill_once(_: Loaded) -> None:
        pids = {s.owner_pid for s in list_shards(ledger, generation) if s.owner_pid}
        if not killed:
            killed.extend(pids)
            os.kill(killed[0], signal.SIGKILL)

    run_worker(assignment, reach_of(ledger, workload), tell=kill_once, note=notes.append)
    assert killed
    assert notes == ["a worker was killed by SIGKILL; started again"]
    assert verify_generation(ledger, generation).complete


def test_a_worker_process_that_is_told_its_connections_needs_no_prefect(
    ledger: Ledger,
    generation: Generation,
    assignment: Assignment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It neither waits for Prefect's server nor pays for its import, in time and memory."""
    (tmp_path / "prefect.py").write_text("raise ImportError('a worker imported Prefect')\n")
    workload, _ = read_workload(ledger, generation.workload)
    reach = reach_of(ledger, workload)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run_worker(assignment, reach)
    assert loaded(ledger, generation) == ROWS


def test_a_worker_process_dies_with_whoever_started_it(generation: Generation) -> None:
    import json
    import subprocess
    import sys

    child = subprocess.Popen(
        [sys.executable, "-m", "qafila.backfill.process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin
    assert child.stdout
    told = {
        "assignment": {"workload": generation.workload, "generation": 1, "batch_rows": 10},
        "reach": {
            "source": {"url": "postgresql://127.0.0.1:9/nowhere"},
            "target": {"url": "postgresql://127.0.0.1:9/nowhere"},
            "embedder": None,
        },
    }
    child.stdin.write(json.dumps(told) + "\n")
    child.stdin.flush()
    assert "begun" in child.stdout.readline()
    child.stdin.close()  # it waits for servers that will never come; now its parent is gone
    assert child.wait(10) in (0, 3)
    child.stdout.close()


def test_servers_that_restart_are_waited_for(
    generation: Generation,
    assignment: Assignment,
    ledger: Ledger,
    source_url: str,
    target_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, cut = Vectorise.__call__, []
    ours = [conninfo_to_dict(url)["dbname"] for url in (ledger.info.dsn, source_url, target_url)]

    def cut_off(self: Vectorise, *batch: object) -> Vectored:
        if len(cut) < 3:
            cut.append(
                ledger.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = any(%s) AND backend_type = 'client backend'"
                    " AND pid <> pg_backend_pid()",
                    [ours],
                )
            )
        return real(self, *batch)  # type: ignore[arg-type]

    monkeypatch.setattr(Vectorise, "__call__", cut_off)
    work(assignment)
    assert len(cut) == 3
    compared = verify_generation(ledger, generation)
    assert compared.complete, compared


def test_one_bad_shard_does_not_keep_the_others_waiting(
    generation: Generation, assignment: Assignment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Vectorise.__call__

    def fails_in_the_third(self: Vectorise, rows: object, chunks: list) -> Vectored:
        if any(c.source_key == "op-000500" for c in chunks):
            raise ValueError("a fault of the model")
        return real(self, rows, chunks)  # type: ignore[arg-type]

    monkeypatch.setattr(Vectorise, "__call__", fails_in_the_third)
    with pytest.raises(BackfillHalted, match=r"shard 2: ValueError: a fault of the model"):
        work(assignment)
    states = [s.state for s in list_shards(ledger, generation)]
    assert states == ["loaded"] * 2 + ["planned"] + ["loaded"] * 5
    assert "a fault of the model" in (read_progress(ledger, generation).errors or "")
    monkeypatch.setattr(Vectorise, "__call__", real)
    work(assignment)
    assert verify_generation(ledger, generation).complete


def test_a_server_that_refuses_a_shard_again_and_again_is_not_waited_for_for_ever(
    ledger: Ledger,
    generation: Generation,
    assignment: Assignment,
    target_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As by a statement_timeout: the driver's class of error is that of a server that is away."""
    monkeypatch.setattr(worker, "PAUSE_SECONDS", 0.01)
    with psycopg.connect(target_url) as target:
        target.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
            " IF NEW.source_key = 'op-000300' THEN RAISE EXCEPTION 'too slow'"
            " USING ERRCODE = 'query_canceled'; END IF; RETURN NEW; END$$"
        )
        target.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON qafila.chunk_aws_docs_search_g1"
            " FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    with pytest.raises(BackfillHalted, match=r"1 shards could not be loaded\. shard 1: .*too slow"):
        work(assignment)
    loaded = [s.state for s in list_shards(ledger, generation)]
    assert loaded.count("loaded") == len(loaded) - 1


def test_going_on_with_another_model_is_refused_and_the_difference_named(
    generation: Generation, assignment: Assignment, ledger: Ledger
) -> None:
    changed = demo_workload(
        embedder={"kind": "wordllama", "dimensions": 128, "lowercase": False},
        chunking={"method": "window"},
    )
    apply_workload(ledger, changed)
    with pytest.raises(Refused) as refused:
        work(assignment)
    for difference in ("chunker was", "model revision was", "dimensions was 256 and is 128"):
        assert difference in refused.value.what


def test_the_status_line_says_what_holds_it_back(
    generation: Generation, ledger: Ledger, patient: PatientLedger
) -> None:
    with holding(patient, generation):
        ask_of_load(ledger, generation, speed=0.5, by="operator", reason="month's end")
        load = read_load(ledger, generation)
        assert load is not None
        line = tell(read_progress(ledger, generation), 100.0, load.sentence(), "EUR")
    assert line == (
        "0/1500 rows · 100 rows/s · at 50% of its speed, asked by operator: month's end"
        " · about 15 s left"
    )
