"""A line of the spool becomes evidence only where this home's key sealed it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg
import pytest

from qafila.ledger.evidence import evidence_of
from qafila.ledger.evidence_head import seen_head
from qafila.ledger.ledger import newest_generation
from qafila.rollback.spool import Spooled, spool, spool_path, take_in_spool
from qafila.workload.model import Workload

NAME = "aws-docs-search"


@pytest.fixture
def entry(
    ledger: psycopg.Connection[Any],
    workload: Workload,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Spooled:
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path / "home"))
    generation = newest_generation(ledger, workload.name)
    assert generation is not None
    return Spooled(
        id="1",
        workload=NAME,
        generation=1,
        fingerprint=generation.fingerprint,
        epoch=1007,
        at="2026-11-27T14:11:01+00:00",
        run_id=None,
        event="rollback",
        moved=False,
        verdict="PASS",
        sentence="back by the card",
        body={"counts": {"10": 1, "9": 2.5}},
    )


def test_a_sealed_line_becomes_evidence(ledger: psycopg.Connection[Any], entry: Spooled) -> None:
    spool(entry)
    assert take_in_spool(ledger) == 1
    assert len(evidence_of(ledger, NAME, "rollback")) == 1
    assert spool_path().read_text() == ""
    kept = seen_head(ledger)
    assert kept is not None
    assert kept.number == evidence_of(ledger, NAME, "rollback")[0].number


@pytest.mark.parametrize("how", ["forged", "changed"])
def test_a_forged_or_changed_line_is_refused_and_kept(
    ledger: psycopg.Connection[Any], entry: Spooled, how: str
) -> None:
    spool(entry)
    line = spool_path().read_text()
    if how == "forged":
        line = json.dumps(asdict(entry)) + "\n"
    spool_path().write_text(line.replace("back by the card", "nobody was hurt"))
    told: list[str] = []
    assert take_in_spool(ledger, told.append) == 0
    assert evidence_of(ledger, NAME, "rollback") == []
    assert "nobody was hurt" in spool_path().read_text()
    assert "seal" in told[0]
    assert "QAFILA_ACCEPT_SPOOL=" in told[0]


def test_a_line_of_an_earlier_version_is_taken_in_by_its_digest(
    ledger: psycopg.Connection[Any], entry: Spooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool_path().parent.mkdir(parents=True)
    spool_path().write_text(json.dumps(asdict(entry)) + "\n")
    told: list[str] = []
    assert take_in_spool(ledger, told.append) == 0
    digest = told[0].split("QAFILA_ACCEPT_SPOOL=")[1].split()[0]
    monkeypatch.setenv("QAFILA_ACCEPT_SPOOL", digest)
    assert take_in_spool(ledger) == 1
    assert len(evidence_of(ledger, NAME, "rollback")) == 1
