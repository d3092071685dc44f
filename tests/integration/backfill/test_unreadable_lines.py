"""Lines of files that cannot be read: set aside one by one, and loaded once they are mended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from qafila.backfill.dead_letters import Replayed, list_dead_letters, replay_dead_letters
from qafila.backfill.verify import verify_generation
from qafila.backfill.worker import Assignment, work
from qafila.errors import BadInput
from qafila.ledger.ledger import Generation
from tasks import embedding_backfill as steps
from tests.support.corpus import ready_generation, workload_from

Ledger = psycopg.Connection[Any]


@pytest.fixture
def file(ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path))
    return tmp_path / "docs.jsonl"


def a_generation(ledger: Ledger, file: Path, target_url: str) -> Generation:
    source = {"kind": "objects", "location": file.name, "format": "jsonl", "acl": "readers"}
    workload = workload_from(source)
    return ready_generation(ledger, workload, "postgresql://nowhere/x", target_url)


def load(generation: Generation) -> tuple[str, ...]:
    """Load a generation; return the risks that its plan names."""
    plan, ranges, shape = steps.plan_load.fn(generation, 100, 1)
    steps.apply_plan.fn(generation, plan, ranges, shape)
    work(Assignment(generation.workload, generation.number, 50, led=False))
    return plan.risks


def line(n: int, **other: Any) -> bytes:
    record = {"id": f"doc-{n:03d}", "text": f"Document number {n}.", "readers": ["all"], **other}
    return json.dumps(record).encode()


def test_a_load_goes_past_lines_that_cannot_be_read(
    ledger: Ledger, file: Path, target_url: str
) -> None:
    lines = [line(n) for n in range(1, 301)]
    lines[9], lines[149], lines[299] = b'{"id": "doc-010", "te', line(150, readers=7), b"\xff\xfe"
    file.write_bytes(b"\n".join(lines))
    generation = a_generation(ledger, file, target_url)
    assert any("3 of 300 documents cannot be read" in risk for risk in load(generation))
    letters = {one.source_key: one.reason for one in list_dead_letters(ledger, generation)}
    assert letters == {
        "doc-150": "readers holds a number, not a list of names",
        "docs.jsonl:10": "is not valid JSON: Unterminated string starting at column 19",
        "docs.jsonl:300": "is not UTF-8 at its byte 1: save the file as UTF-8",
    }
    compared = verify_generation(ledger, generation)
    assert (compared.complete, compared.chunks_target, compared.dead_letters) == (True, 297, 3)

    # mended in its place, each gets in under its own key; the third is gone
    lines[9], lines[149] = line(10), line(150)
    file.write_bytes(b"\n".join(lines[:299]))
    done = replay_dead_letters(ledger, generation)
    assert done == Replayed(documents=3, gone=1, chunks=2)
    assert list_dead_letters(ledger, generation) == []
    compared = verify_generation(ledger, generation)
    assert (compared.complete, compared.chunks_target, compared.extra) == (True, 299, 0)
    assert replay_dead_letters(ledger, generation) == Replayed()


def test_a_line_that_another_took_the_place_of_is_told_as_missing(
    ledger: Ledger, file: Path, target_url: str
) -> None:
    """The lines moved while one was mended: nothing is there twice, and the gap is not silent."""
    file.write_bytes(b"\n".join([line(1), b"nonsense", line(3), line(4)]))
    generation = a_generation(ledger, file, target_url)
    load(generation)
    file.write_bytes(b"\n".join([line(2), line(1), line(3), line(4)]))
    replay_dead_letters(ledger, generation)
    compared = verify_generation(ledger, generation)
    assert (compared.complete, compared.missing, compared.duplicates) == (False, 1, 0)
    assert compared.examples == ("missing ('doc-002', 0)",)


def test_a_source_of_which_nothing_can_be_read_is_refused(
    ledger: Ledger, file: Path, target_url: str
) -> None:
    file.write_bytes(b"nonsense\n" * 3)
    with pytest.raises(BadInput, match="is not a JSON object") as refused:
        load(a_generation(ledger, file, target_url))
    assert len(refused.value.problems) == 3
