"""The demo's candidate goes bad: found out, for the right reason, and undone.

The tests share one generation, loaded once, or the one that a story before this has left on the
stack. It counts as validated each time anew; the first story begins at the drill, and its
certificate holds for the others.

The whole demo is played for each of its ways to break a candidate: faults asked for over HTTP, the
tenant who is looked for in the users' log, the process that is killed. Candidates that are slow or
empty differ from the one with errors in what the same request asks for: the same services and the
same faults are judged by tests/integration/rollout/test_bad_candidates.py, in seconds.
"""

from __future__ import annotations

import os
import re
from unittest.mock import patch

import psycopg
import pytest

from qafila.backfill.generations import open_for
from qafila.demo.bad_candidates import GOING, BadCandidate
from qafila.ledger.evidence import latest_evidence
from qafila.ledger.ledger import newest_generation, read_workload
from qafila.routers.envoy.access_log import tenant_digest
from qafila.workload.phases import ENDED, Event, Phase
from tests.acceptance.conftest import Stack
from tests.acceptance.crossing import WORKLOAD, move, open_ledger, run_demo, set_scene

pytestmark = pytest.mark.slow

PLAYED = [BadCandidate.ERRORS, BadCandidate.ONE_TENANT, BadCandidate.KILLED]
# Where the baseline may be asked again, nobody meets an error.
RETRIED = {BadCandidate.ERRORS, BadCandidate.KILLED}


@pytest.fixture(scope="module")
def loaded(stack: Stack) -> None:
    """A generation that is loaded: that of a story before this, one that is open, or a new one."""
    set_scene(stack)
    with open_ledger(stack) as ledger:
        generation = newest_generation(ledger, WORKLOAD)
        if generation is not None and generation.phase == Phase.ROLLED_BACK:
            return
        if generation is None or generation.phase in ENDED:
            generation = open_for(ledger, read_workload(ledger, WORKLOAD)[0])
        if generation.phase == Phase.REGISTERED:
            move(ledger, Event.AUDIT_ACCEPTED)
        move(ledger, Event.DECISION_APPROVED, Event.PLAN_APPLIED)
        stack.cli("run", "embedding-backfill", WORKLOAD)
        move(ledger, Event.LADDER_PASS)


def begin_again(ledger: psycopg.Connection, *, drilled: bool) -> None:
    """Let the newest generation begin at the drill once more, or behind it."""
    generation = newest_generation(ledger, WORKLOAD)
    assert generation is not None
    if generation.phase == Phase.ROLLED_BACK:
        move(ledger, Event.CAUSE_RECORDED, Event.LADDER_PASS)
        if drilled:
            move(ledger, Event.DRILL_PASS)


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("kind", PLAYED)
def test_it_is_brought_back_for_the_right_reason(stack: Stack, kind: BadCandidate) -> None:
    with open_ledger(stack) as ledger:
        begin_again(ledger, drilled=kind is not PLAYED[0])
        result, said = run_demo(stack, "--bad-candidate", kind)
        verdict = latest_evidence(ledger, WORKLOAD, "rollout", generation=result["generation"])
    assert result["bad_candidate"] == kind
    assert result["outcome"] == "rolled_back", said
    assert result["reason"] == GOING[kind].reason, said
    assert result["canary"]["final_weight"] == 0
    assert result["ms_to_zero"] <= 1000
    assert result["evidence"]["chain_ok"]
    if kind in RETRIED:
        assert result["failed_requests"] == 0, "errors are retried on the baseline"
    assert verdict is not None
    assert verdict.verdict == "FAIL"
    assert "(E = " in verdict.sentence
    assert "broken on purpose" in said
    if kind is BadCandidate.ONE_TENANT:
        (tenant,) = re.findall(r"only for (\S+)", said)
        with patch.dict(os.environ, {"QAFILA_HOME": str(stack.home)}):  # ids are keyed by home
            assert f"tenant {tenant_digest(tenant)}: " in verdict.sentence
