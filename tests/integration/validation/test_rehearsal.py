"""A rehearsal over real services: the ladder finds what is planted, and nothing in a whole copy."""

from __future__ import annotations

from qafila.ledger.ledger import open_ledger
from qafila.validation.ladder import REHEARSED
from qafila.validation.model import Rung
from qafila.validation.options import LadderOptions
from qafila.validation.rehearsal.judge_rehearsal import FAULTS as ALL_FAULTS
from qafila.validation.rehearsal.judge_rehearsal import judge_rehearsal
from qafila.validation.rehearsal.rehearsal import rehearse
from qafila.validation.suite import begin_climb
from qafila.workload.verdict import Verdict
from tests.support.demo_services import Demo

TIMED = {Rung.LATENCY, Rung.COST}  # need a quiet machine: qafila bench validation measures them
FAULTS = [f for f in ALL_FAULTS if not TIMED.intersection(f.rungs)]


def test_every_planted_fault_is_caught_and_the_copy_is_gone(demo: Demo) -> None:
    climb = begin_climb(
        demo.workload.name, LadderOptions(max_queries=120, latency_seconds=4, access_readers=4)
    )
    said: list[str] = []
    with open_ledger() as ledger:
        rehearsed = rehearse(ledger, climb, REHEARSED, faults=FAULTS, told=said.append)
    judged = judge_rehearsal(rehearsed.clean.judgement, rehearsed.trials)
    assert judged.verdict is Verdict.PASS, (judged.sentence, said)
    assert [t.fault for t in rehearsed.trials] == FAULTS
    with demo.target() as target:
        left = target.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'qafila' AND tablename ~ 'g100000'"
        ).fetchone()
    assert left == (0,)
