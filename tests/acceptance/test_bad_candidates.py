"""Every way in which the demo's candidate goes bad: found out, for the right reason, and undone.

The tests share one generation, loaded once. It counts as validated each time anew, so that a story
begins at the drill.
"""

from __future__ import annotations

import psycopg
import pytest

from qafila.core.phases import ENDED, Event, Phase
from qafila.demo.bad_candidates import GOING, BadCandidate
from tasks.evidence import latest_evidence
from tasks.generations import open_for
from tasks.ledger import newest_generation, read_workload
from tests.acceptance.conftest import Stack
from tests.acceptance.crossing import WORKLOAD, move, open_ledger, run_demo, set_scene

pytestmark = pytest.mark.slow

# Where the baseline may be asked again, nobody meets an error.
RETRIED = {BadCandidate.ERRORS, BadCandidate.KILLED}


@pytest.fixture(scope="module")
def loaded(stack: Stack) -> None:
    """A generation that is loaded: a new one, or the one that an audit before this has opened."""
    set_scene(stack)
    with open_ledger(stack) as ledger:
        generation = newest_generation(ledger, WORKLOAD)
        if generation is None or generation.phase in ENDED:
            generation = open_for(ledger, read_workload(ledger, WORKLOAD)[0])
        if generation.phase == Phase.REGISTERED:
            move(ledger, Event.AUDIT_ACCEPTED)
        move(ledger, Event.DECISION_APPROVED, Event.PLAN_APPLIED)
        stack.cli("run", "embedding-backfill", WORKLOAD)
        move(ledger, Event.LADDER_PASS)


def validate_again(ledger: psycopg.Connection) -> None:
    """Let the newest generation begin at the drill once more."""
    generation = newest_generation(ledger, WORKLOAD)
    assert generation is not None
    if generation.phase == "rolled_back":
        move(ledger, Event.CAUSE_RECORDED, Event.LADDER_PASS)


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("kind", list(BadCandidate))
def test_it_is_brought_back_for_the_right_reason(stack: Stack, kind: BadCandidate) -> None:
    with open_ledger(stack) as ledger:
        validate_again(ledger)
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
