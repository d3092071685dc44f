"""One question gets one answer, whoever gives it at the same time and however a name is written."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from qafila.errors import Refused
from qafila.ledger import approvals
from qafila.ledger.approvals import Choice, Question
from qafila.ledger.evidence import evidence_of

Ledger = psycopg.Connection[Any]


def ask(ledger: Ledger, needed: int) -> None:
    approvals.ask(ledger, Question("q", "w", 1, "w above 25 %", "go on?", 60, needed=needed))


def test_two_persons_who_answer_at_once_give_one_answer(ledger: Ledger, ledger_url: str) -> None:
    """Both have begun before either can end: the question's row is locked until then."""
    ask(ledger, needed=1)
    given: dict[str, str] = {}

    def answer(by: str, decision: Choice) -> None:
        with psycopg.connect(ledger_url, autocommit=True) as own:
            try:
                given[by] = approvals.answer(own, "q", decision, by=by).state
            except Refused as refused:
                given[by] = refused.what

    decisions: dict[str, Choice] = {"Amal": "approve", "Badr": "reject"}
    threads = [threading.Thread(target=answer, args=pair) for pair in decisions.items()]
    with ledger.transaction():
        ledger.execute("SELECT FROM qafila.approval WHERE id = 'q' FOR UPDATE")
        for thread in threads:
            thread.start()
        with psycopg.connect(ledger_url, autocommit=True) as watching:
            waiting = 0
            while waiting < len(threads):
                row = watching.execute(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                ).fetchone()
                assert row is not None
                waiting = row[0]
    for thread in threads:
        thread.join(30)
    states = {"Amal": "approved", "Badr": "rejected"}
    (first,) = [by for by, said in given.items() if said == states[by]]
    (second,) = set(given) - {first}
    assert f"{states[first]} already by {first}" in given[second]
    (kept,) = evidence_of(ledger, "w", "approval")
    assert (kept.body["by"], kept.body["state"]) == (first, states[first])
    assert approvals.read_approval(ledger, "q").decided_by == first


@pytest.mark.parametrize(
    "again", ["amal idrissi", "\u0410mal Idrissi", "AMAL  IDRISSI", "Ama1 Idrissi"]
)
def test_one_person_under_two_spellings_answers_once(ledger: Ledger, again: str) -> None:
    ask(ledger, needed=2)
    assert approvals.answer(ledger, "q", "approve", by="Amal Idrissi").state == "pending"
    with pytest.raises(Refused, match="has approved already"):
        approvals.answer(ledger, "q", "approve", by=again)
    assert approvals.read_approval(ledger, "q").approved_by == ["Amal Idrissi"]
    assert len(evidence_of(ledger, "w", "approval")) == 1
