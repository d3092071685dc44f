"""One question, two persons, in a real ledger: who counts, what is kept, what comes too late."""

from __future__ import annotations

import socket
import threading
import time

import psycopg
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from qafila.errors import Refused
from qafila.ledger import approvals
from qafila.ledger.approvals import Question
from qafila.ledger.evidence import check_chain, evidence_of
from qafila.ledger.ledger import Connection, apply_workload
from tasks import approval as form
from tasks.asking import ask_person
from tests.support.applied import apply_demo


def ask(ledger: Connection, *, needed: int = 2, by: str | None = "Amal", s: float = 60) -> None:
    approvals.ask(
        ledger, Question("q", "w", 1, "w above 25 %", "go on?", s, needed=needed, requested_by=by)
    )


def test_two_different_persons_approve(ledger: psycopg.Connection) -> None:
    ask(ledger)
    first = approvals.answer(ledger, "q", "approve", by="Badr", notes="latency fine")
    assert (first.state, first.approved_by, first.still_needed) == ("pending", ["Badr"], 1)
    assert "approved by Badr" in first.progress
    assert [a.approved_by for a in approvals.pending_approvals(ledger)] == [["Badr"]]
    with pytest.raises(Refused, match="has approved already"):
        approvals.answer(ledger, "q", "approve", by=" b A d r")
    with pytest.raises(Refused, match="asked for this, so 2 others"):
        approvals.answer(ledger, "q", "approve", by="AMAL")
    assert approvals.read_approval(ledger, "q").approved_by == ["Badr"]
    both = approvals.answer(ledger, "q", "approve", by="Chaima", notes="agreed")
    assert (both.state, both.decided_by) == ("approved", "Badr and Chaima")
    assert both.notes == "latency fine; agreed"
    told = [row.sentence for row in reversed(evidence_of(ledger, "w", kind="approval"))]
    assert told == [
        "w above 25 %: approved by Badr, 1 of 2.",
        "w above 25 %: approved by Chaima, 2 of 2.",
    ]
    with pytest.raises(Refused, match="approved already by Badr and Chaima"):
        approvals.answer(ledger, "q", "approve", by="Driss")
    assert check_chain(ledger).intact


def test_one_no_is_a_no_also_from_who_asked_or_approved(ledger: psycopg.Connection) -> None:
    ask(ledger)
    approvals.answer(ledger, "q", "approve", by="Badr")
    no = approvals.answer(ledger, "q", "reject", by="Badr", notes="on second thoughts")
    assert (no.state, no.decided_by, no.notes) == ("rejected", "Badr", "on second thoughts")


def test_the_requester_alone_is_refused(ledger: psycopg.Connection) -> None:
    ask(ledger, needed=1)
    with pytest.raises(Refused, match="somebody else approves") as refused:
        approvals.answer(ledger, "q", "approve", by="amal")
    assert refused.value.remedy == "another person: qafila approve q --by NAME"
    assert evidence_of(ledger, "w") == []
    assert approvals.answer(ledger, "q", "approve", by="Badr").state == "approved"


def test_an_answer_after_the_deadline_is_refused_with_the_time(ledger: psycopg.Connection) -> None:
    ask(ledger, s=0)
    lapsed = approvals.read_approval(ledger, "q")
    assert lapsed.state == "lapsed"
    with pytest.raises(Refused, match=f"lapsed at {lapsed.expires_at:%d %b %H:%M:%S}"):
        approvals.answer(ledger, "q", "approve", by="Badr")
    assert evidence_of(ledger, "w") == []


def test_answers_at_the_same_moment_are_counted_once_each(
    ledger: psycopg.Connection, ledger_url: str
) -> None:
    ask(ledger, by=None)
    refused: list[str] = []

    def approve(name: str) -> None:
        with psycopg.connect(ledger_url, autocommit=True) as own:
            try:
                approvals.answer(own, "q", "approve", by=name)
            except Refused as error:
                refused.append(error.what)

    people = [threading.Thread(target=approve, args=(n,)) for n in ("Amal", "amal", "AMAL")]
    for thread in people:
        thread.start()
    for thread in people:
        thread.join()
    assert len(refused) == 2
    assert approvals.read_approval(ledger, "q").state == "pending"


def test_the_form_keeps_an_answer_once_and_says_what_does_not_count(
    ledger: psycopg.Connection, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)
    said: list[str] = []

    class Log:
        def info(self, _: str, what: str) -> None:
            said.append(what)

    monkeypatch.setattr(form, "get_run_logger", Log)
    ask(ledger)
    filled = form.Answer(decision="approve", approved_by="Badr")
    assert form.write_answer.fn("q", filled).still_needed == 1
    assert form.write_answer.fn("q", filled).still_needed == 1  # the run starts from its top
    assert len(said) == 1
    shown = form.shown(approvals.read_approval(ledger, "q"))
    assert shown.startswith("go on?")
    assert "approved by Badr; asked for by Amal" in shown
    assert form.Answer.model_fields["decision"].default == "reject"
    assert form.Answer.model_fields["approved_by"].is_required()


def test_a_prefect_server_that_hangs_does_not_keep_the_asker(ledger: psycopg.Connection) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, answers nothing
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
        with temporary_settings({PREFECT_API_URL: address}):
            began = time.monotonic()
            asked = ask_person(ledger, Question("q", "w", 1, "w above 25 %", "go on?", 60))
    assert time.monotonic() - began < 10  # what a holder of a lease has to show itself
    assert (asked.state, asked.approval_run) == ("pending", None)
    assert approvals.answer(ledger, "q", "approve", by="Badr").state == "approved"


@pytest.mark.parametrize("criticality", ["low", "high"])
def test_only_listed_persons_approve(
    ledger: psycopg.Connection, target_url: str, criticality: str
) -> None:
    spec, _ = apply_demo(ledger, target_url, criticality=criticality)
    approvals.ask(ledger, Question("q", spec.name, 1, "above 25 %", "go on?", 60))
    rollout = spec.rollout.model_copy(update={"approvers": ["Badr", "Chaima"]})
    apply_workload(ledger, spec.model_copy(update={"rollout": rollout}))
    with pytest.raises(Refused, match="Driss is not among the approvers: Badr, Chaima"):
        approvals.answer(ledger, "q", "approve", by="Driss")
    assert approvals.answer(ledger, "q", "approve", by="BADR").state == "approved"


def test_high_criticality_without_a_list_is_not_approved(
    ledger: psycopg.Connection, target_url: str
) -> None:
    spec, _ = apply_demo(ledger, target_url, criticality="high")
    approvals.ask(ledger, Question("q", spec.name, 1, "above 25 %", "go on?", 60, needed=2))
    with pytest.raises(Refused, match="lists no approvers") as refused:
        approvals.answer(ledger, "q", "approve", by="Badr")
    assert "rollout.approvers" in (refused.value.remedy or "")
    assert approvals.answer(ledger, "q", "reject", by="Badr").state == "rejected"
