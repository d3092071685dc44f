"""The report from a real ledger, at any phase; and what status says of the end."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb
from typer.testing import CliRunner

from qafila.cli import app
from qafila.cli.status import lines_of
from qafila.errors import BadInput, Refused
from qafila.ledger import approvals
from qafila.ledger.evidence import record_evidence
from qafila.ledger.ledger import Generation, apply_workload, move_phase
from qafila.ledger.watchdog_mark import mark_watchdog
from qafila.report.workload_page import collect_facts, save_validation, write_report
from qafila.rollout.status import read_status
from qafila.sql import statement
from qafila.workload.phases import Event
from qafila.workload.verdict import Verdict
from tests.support.applied import apply_demo, audit

NAME = "aws-docs-search"
TO_CANARY = (
    Event.DECISION_APPROVED,
    Event.PLAN_APPLIED,
    Event.ALL_LOADED,
    Event.LADDER_PASS,
    Event.DRILL_PASS,
    Event.FIRST_WEIGHT,
)


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ledger_url: str) -> None:
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path))
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)


@pytest.fixture
def audited(ledger: psycopg.Connection[Any], target_url: str) -> Generation:
    _, generation = apply_demo(ledger, target_url)
    return audit(ledger, generation)


def go(ledger: psycopg.Connection[Any], generation: Generation, *events: Event) -> Generation:
    for event in events:
        generation = move_phase(ledger, generation, event)
    return generation


def note(ledger: psycopg.Connection[Any], kind: str, verdict: Verdict, **body: object) -> None:
    record_evidence(
        ledger,
        kind,
        f"{kind} is {verdict}.",
        workload=NAME,
        generation=1,
        verdict=verdict,
        body=body,
    )


def look(ledger: psycopg.Connection[Any], number: int, weight: int) -> None:
    arm = {"requests": 9, "bad": 0}
    ledger.execute(
        statement("canary", "put_look"),
        {
            "workload": NAME,
            "generation": 1,
            "rollout": "r1",
            "number": number,
            "step": "5 %",
            "weight": weight,
            "acknowledged": weight,
            "observed": 0.05,
            "counts": Jsonb({"baseline": arm, "candidate": arm}),
            "e_values": Jsonb({"errors": 1.0}),
            "verdict": "INCONCLUSIVE",
            "sentence": "the last look",
        },
    )


def test_a_migration_that_stopped_at_validation_has_a_report(
    ledger: psycopg.Connection[Any], audited: Generation, tmp_path: Path
) -> None:
    go(ledger, audited, *TO_CANARY[:3])
    note(ledger, "backfill", Verdict.PASS, rows_target=120)
    note(ledger, "validation", Verdict.FAIL, systems={}, paired={}, verdicts={})
    approvals.ask(ledger, approvals.Question("q", NAME, 1, "build it?", "?", 60))
    approvals.answer(ledger, "q", "approve", by="Amal", notes="after a talk")
    path = write_report(ledger, NAME)
    assert path == tmp_path / "reports" / f"{NAME}.html"
    page = path.read_text()
    assert "120 rows of operation" in page
    assert "has stopped at validation, FAIL: validation is FAIL." in page
    assert "Audit of iam: denied" in page
    assert "by Amal" in page
    assert "after a talk" in page
    assert 'the chain of 4 is <span class="PASS">intact</span>' in page
    assert "not measured" in page
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_newest_generation_is_the_default_and_keeps_its_file(
    ledger: psycopg.Connection[Any], audited: Generation, target_url: str
) -> None:
    go(ledger, audited, *TO_CANARY, Event.ABORT)
    workload, second = apply_demo(ledger, target_url)
    assert second.number == 2
    changed = workload.model_copy(update={"owner": "other@example.org"})
    apply_workload(ledger, changed)  # after both were opened: neither report speaks of it
    assert collect_facts(ledger, NAME).generation == 2
    first = collect_facts(ledger, NAME, 1)
    assert (first.phase, first.spec["owner"]) == ("rolled_back", workload.owner)
    assert write_report(ledger, NAME, 1).name == f"{NAME}-g1.html"
    assert write_report(ledger, NAME, 2).name == f"{NAME}.html"
    with pytest.raises(Refused, match="no generation 3; it has: 1, 2"):
        write_report(ledger, NAME, 3)


def test_a_changed_row_is_on_the_first_page(
    ledger: psycopg.Connection[Any], audited: Generation
) -> None:
    ledger.execute("ALTER TABLE qafila.evidence DISABLE TRIGGER ALL")
    ledger.execute("UPDATE qafila.evidence SET sentence = 'all is well' WHERE number = 1")
    page = write_report(ledger, NAME).read_text()
    assert '<span class="FAIL">BROKEN</span>' in page
    assert "row 1 was changed after it was written" in page


def test_refusals_name_what_there_is(
    ledger: psycopg.Connection[Any], audited: Generation, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match=NAME):
        write_report(ledger, "unknown")
    with pytest.raises(BadInput, match="cannot be written"):
        write_report(ledger, NAME, to=tmp_path / "no" / "such" / "folder.html")
    ledger.execute("TRUNCATE qafila.generation CASCADE")
    with pytest.raises(Refused, match="nothing to report"):
        write_report(ledger, NAME)


def test_the_command_prints_the_file_and_the_sentence(
    ledger: psycopg.Connection[Any], audited: Generation, tmp_path: Path
) -> None:
    file = tmp_path / "page.html"
    shown = CliRunner().invoke(app, ["report", NAME, "--to", str(file)])
    assert shown.exit_code == 0, shown.output
    assert shown.output.splitlines()[0] == str(file)
    assert "is audited since" in shown.output
    as_json = CliRunner().invoke(app, ["report", NAME, "--json"])
    told = json.loads(as_json.output)
    assert (told["generation"], told["phase"]) == (1, "audited")
    assert told["evidence"]["chain_ok"]
    assert [f["before"]["value"] for f in told["figures"]] == ["not measured"] * 4
    assert Path(told["file"]).is_file()


def test_the_page_of_a_validation_is_written_by_the_command(
    ledger: psycopg.Connection[Any], audited: Generation, target_url: str, tmp_path: Path
) -> None:
    ask = ["report", NAME, "--validation"]
    refused = CliRunner().invoke(app, ask)
    assert isinstance(refused.exception, Refused)
    assert "was not validated yet" in str(refused.exception)
    assert "benchmark-validation" in refused.exception.remedy
    rungs = {
        "keys": {"verdict": "PASS", "sentence": "all there"},
        "quality": {
            "verdict": "FAIL",
            "sentence": "worse",
            "compared": "nDCG@10",
            "on": "60 queries",
            "smallest_effect": "0.02",
        },
    }
    note(ledger, "validation", Verdict.PASS, rungs={})
    note(ledger, "validation", Verdict.FAIL, rungs=rungs, not_reached=["latency"])
    shown = CliRunner().invoke(app, ask)
    assert shown.exit_code == 0, shown.output
    file = tmp_path / "reports" / f"{NAME}-validation.html"
    assert shown.output.splitlines() == [str(file), "validation is FAIL."]
    page = file.read_text()
    assert "Judged queries are answered as well as before" in page
    assert "quality stopped the climb" in page
    assert "It was not rehearsed" in page
    told = json.loads(CliRunner().invoke(app, [*ask, "--json"]).output)
    assert (told["verdict"], told["rehearsal"]) == ("FAIL", None)
    assert [(r["number"], r["rung"], r["verdict"]) for r in told["rungs"]] == [
        (1, "keys", "PASS"),
        (6, "quality", "FAIL"),
        (8, "latency", "not reached"),
    ]
    assert told["rungs"][1]["smallest_effect"] == "0.02"
    go(ledger, audited, *TO_CANARY, Event.ABORT)
    apply_demo(ledger, target_url)
    with pytest.raises(Refused, match=r"generation 2 of .* was not validated"):
        save_validation(collect_facts(ledger, NAME))
    path, _ = save_validation(collect_facts(ledger, NAME, 1))
    assert path.name == f"{NAME}-g1-validation.html"


def test_status_tells_the_look_during_a_canary_and_its_end_afterwards(
    ledger: psycopg.Connection[Any], audited: Generation
) -> None:
    generation = go(ledger, audited, *TO_CANARY)
    look(ledger, 1, 5)

    def since(label: str = "since") -> str:
        lines = lines_of(read_status(ledger, NAME), datetime.now(UTC))
        return next(text for name, text in lines if name.startswith(label))

    assert since().startswith("18 requests · bad events 0 canary / 0 baseline · E(harm) 1 of")
    assert since("last look") == "INCONCLUSIVE: the last look"
    note(ledger, "rollback", Verdict.PASS)
    go(ledger, generation, Event.ABORT)
    assert since() == "rollback is PASS."
    note(ledger, "rollout", Verdict.FAIL, weights=[1, 5])
    assert since() == "rollout is FAIL."
    facts = collect_facts(ledger, NAME)
    assert facts.rollout is not None
    assert [row["weight"] for row in facts.rollout.looks] == [5]
    assert (facts.rollout.limits.abort_at, facts.rollout.limits.promote_at) == (400, 20)


def test_status_as_json_has_the_values_of_the_screen(
    ledger: psycopg.Connection[Any], audited: Generation
) -> None:
    go(ledger, audited, *TO_CANARY)
    look(ledger, 1, 5)
    look(ledger, 2, 5)
    mark_watchdog(ledger)
    told = json.loads(CliRunner().invoke(app, ["status", NAME, "--json"]).output)
    canary = told["canary"]
    assert (canary["doing"], canary["safety"]) == ("nobody leads it", "safe")
    assert (canary["so_far"]["rollout"], canary["so_far"]["looks"]) == ("r1", 2)
    assert (canary["so_far"]["baseline_requests"], canary["so_far"]["candidate_requests"]) == (
        18,
        18,
    )
    assert canary["so_far"]["requests_per_s"] > 0
    assert (canary["abort_at"], canary["promote_at"]) == (400, 20)
    assert canary["next"]["weight"] == 25
    assert 0 <= told["watchdog_age_s"] < 60
