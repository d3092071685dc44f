"""Tell the demo's story: start the migration, watch the ledger, answer, kill once, sum up."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, Protocol
from uuid import UUID

import httpx
import psutil
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType

from qafila.backfill.claims import list_shards
from qafila.backfill.control import read_load
from qafila.demo.bad_candidates import GOING, BadCandidate, tenant_on_candidate
from qafila.demo.setting import Scene
from qafila.ledger.approvals import Approval, pending_approvals
from qafila.ledger.evidence import Evidence, evidence_of
from qafila.ledger.ledger import Connection, newest_generation, open_ledger
from qafila.sql import statement
from qafila.workload.verdict import Verdict
from tasks.asking import answer_question
from tasks.starting import read_state, start

_FORM_PATIENCE_S = 20.0
_STORY_LIMIT_S = 900.0


class Stage(Protocol):
    """Where the story is shown."""

    def progress(self, text: str) -> None:
        """Replace the one line about what happens now."""

    def told(self, row: Evidence) -> None:
        """Show what one piece of evidence says."""

    def note(self, text: str) -> None:
        """Show a line that stays."""


@dataclass
class Story:
    """One run of the demo, as it goes on."""

    scene: Scene
    approve: Literal["auto", "ask"]
    bad_candidate: BadCandidate | None
    stage: Stage
    started_at: float = field(default_factory=time.time)
    run_id: UUID | None = None
    generation: int | None = None
    killed: bool = False
    broken: bool = False
    approvals: int = 0
    told_before: int = 0  # the last evidence that an earlier story left
    _told: int = 0
    _asked: dict[str, float] = field(default_factory=dict)
    _first_look: dict[int, float] = field(default_factory=dict)  # at a weight; Unix seconds

    @property
    def workload(self) -> str:
        return self.scene.workload.name

    def run(self) -> str:
        """Run the migration to its end; return the phase in which the generation ended."""
        with open_ledger() as ledger:
            newest = evidence_of(ledger, self.workload, limit=1)
            self._told = self.told_before = newest[0].number if newest else 0
            self.run_id = start("migrate-workload", {"workload": self.workload})
            self.stage.progress("waiting for the worker to start the migration")
            looked_at = 0.0
            while time.time() - self.started_at < _STORY_LIMIT_S:
                self.step(ledger)
                if time.monotonic() - looked_at > 1.0:
                    looked_at = time.monotonic()
                    state = read_state(self.run_id)
                    if state is not None and state.is_final():
                        break
                time.sleep(0.03)
            self.step(ledger)
            generation = newest_generation(ledger, self.workload)
            return generation.phase if generation else "registered"

    def step(self, ledger: Connection) -> None:
        """Look at the ledger once and do what the story asks for."""
        generation = newest_generation(ledger, self.workload)
        if generation is None:
            return
        self.generation = generation.number
        for row in reversed(evidence_of(ledger, self.workload, limit=50)):
            if row.number > self._told:
                self._told = row.number
                self.stage.told(row)
        if generation.phase == "backfilling":
            self.watch_backfill(ledger)
        if generation.phase == "canary":
            self.watch_canary(ledger)
        for question in pending_approvals(ledger, self.workload):
            self.answer(ledger, question)

    def watch_backfill(self, ledger: Connection) -> None:
        """Show how far the load is; in the middle of it, kill its process once."""
        generation = newest_generation(ledger, self.workload)
        assert generation is not None
        shards = list_shards(ledger, generation)
        planned = sum(s.rows_planned for s in shards)
        loaded = sum(s.rows_loaded for s in shards)
        if not planned:
            return
        share = loaded / planned
        self.stage.progress(f"{'█' * int(24 * share):░<24}  {loaded}/{planned} rows")
        load = read_load(ledger, generation)
        if self.killed or not 0.25 < share < 0.9 or load is None or not load.held:
            return
        workers = [s.owner_pid for s in shards if s.state == "claimed"]
        pids = {pid for pid in (load.holder_pid, *workers) if pid is not None and self._ours(pid)}
        if load.holder == socket.gethostname() and load.holder_pid in pids:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.killed = True
            told = " ".join(map(str, sorted(pids)))
            self.stage.note(f"killed on purpose at {100 * share:.0f} % (kill -9 {told})")

    def _ours(self, pid: int) -> bool:
        """Say whether a process began during this story: the ledger may name an older one."""
        try:
            return psutil.Process(pid).create_time() >= self.started_at
        except psutil.NoSuchProcess:
            return False

    def watch_canary(self, ledger: Connection) -> None:
        """Show the judge's last look; break a candidate that is to be bad."""
        row = ledger.execute(
            statement("status", "last_look"),
            {"workload": self.workload, "generation": self.generation},
        ).fetchone()
        if row is None:
            return
        looked_at, step, weight, sentence = row[2], row[3], row[4], row[10]
        self.stage.progress(f"{step} · {weight} % · {sentence}")
        if self.bad_candidate is None or self.broken or weight < GOING[self.bad_candidate].at:
            return
        since = self._first_look.setdefault(weight, looked_at.timestamp() - 1)
        told = self.break_candidate(self.bad_candidate, since)
        if told is not None:
            self.broken = True
            self.stage.note(f"the candidate is broken on purpose at {weight} %: {told}")

    def break_candidate(self, kind: BadCandidate, since: float) -> str | None:
        """Let the candidate go bad; return what to say, None when nobody is there to meet it.

        ``since``: Unix seconds from which the present weight holds.
        """
        going = GOING[kind]
        if going.faults is None:
            process = self.scene.candidate_process.process()
            if process is None:
                return "its process had ended already"
            process.kill()
            return going.told.format(pid=process.pid)
        faults: dict[str, float | str] = dict(going.faults)
        told = going.told
        if kind is BadCandidate.ONE_TENANT:
            with self.scene.load_log.open() as log:
                tenant = tenant_on_candidate(log, since)
            if tenant is None:
                return None
            faults["tenant"], told = tenant, f"{told} {tenant}"
        address = f"{self.scene.candidate_url}/_demo/break"
        httpx.post(address, json=faults, timeout=5).raise_for_status()
        return told

    def answer(self, ledger: Connection, question: Approval) -> None:
        """Answer a question as soon as its form stands in the UI; or point at it."""
        first_seen = self._asked.setdefault(question.id, time.monotonic())
        waited = time.monotonic() - first_seen
        if self.approve == "ask":
            if waited < 0.02:
                self.stage.note(
                    f"waits for you: {question.subject}     qafila approve {question.id} --by NAME"
                )
            return
        if waited < _FORM_PATIENCE_S and not self._form_stands(question):
            return
        answer_question(
            ledger, question.id, "approve", by="demo", notes="answered by --approve auto"
        )
        self.approvals += 1

    def _form_stands(self, question: Approval) -> bool:
        if question.approval_run is None:
            return False
        state = read_state(UUID(question.approval_run))
        return state is not None and state.is_paused()


_VERDICTS = {StateType.COMPLETED: Verdict.PASS, StateType.FAILED: Verdict.FAIL}


@dataclass(frozen=True)
class PhaseRun:
    """One phase of the migration as Prefect ran it; seconds of wall time."""

    name: str
    verdict: str
    seconds: float
    flow_run_id: str


def phase_runs(story: Story) -> list[PhaseRun]:
    """Return the runs of this story's phases in order, all attempts counted together."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterExpectedStartTime
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.types import DateTime

    since = DateTime.fromtimestamp(story.started_at)
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                expected_start_time=FlowRunFilterExpectedStartTime(after_=since)
            ),
            sort=FlowRunSort.START_TIME_ASC,
            limit=200,
        )
        names = {f.id: f.name for f in client.read_flows(limit=200)}
    found: dict[str, PhaseRun] = {}
    for run in runs:
        name = names.get(run.flow_id, "")
        if name in ("", "approval") or run.start_time is None or run.state is None:
            continue
        seconds = run.total_run_time.total_seconds()
        before = found.get(name)
        verdict = _VERDICTS.get(run.state.type, Verdict.ERROR)
        found[name] = PhaseRun(
            name, verdict.value, round(seconds + (before.seconds if before else 0), 2), str(run.id)
        )
    return list(found.values())
