"""The ledger dies after it has committed a backfill's evidence and before it has said so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

import tasks.embedding_backfill as steps
from qafila.backfill import patience
from qafila.backfill.plan import Comparison
from qafila.errors import VerificationFailed
from qafila.ledger.evidence import check_chain, evidence_of
from qafila.ledger.ledger import Generation, open_ledger
from tasks import lasting


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first connection breaks when all is committed; later ones are well."""
    count: list[int] = []

    @contextmanager
    def breaks_at_its_end() -> Iterator[psycopg.Connection[Any]]:
        count.append(1)
        with open_ledger() as ledger:
            yield ledger
        if len(count) == 1:
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(steps, "open_ledger", breaks_at_its_end)
    monkeypatch.setattr(steps, "show_markdown", lambda *_, **__: None)
    monkeypatch.setattr(lasting, "get_run_logger", lambda: SimpleNamespace(warning=lambda *_: None))
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.001)
    return count


def test_an_attempt_is_noted_once_and_the_next_one_too(
    ledger: psycopg.Connection, generation: Generation, opened: list[int]
) -> None:
    now = steps.begin.fn(generation)
    assert len(opened) == 2
    assert now.phase == "backfilling"
    assert len(evidence_of(ledger, generation.workload, "backfill-attempt")) == 1
    steps.begin.fn(now)
    assert len(evidence_of(ledger, generation.workload, "backfill-attempt")) == 2
    assert check_chain(ledger).intact


def test_a_verdict_is_written_once(
    ledger: psycopg.Connection, generation: Generation, opened: list[int]
) -> None:
    differs = Comparison(10, 9, 9, 1, 0, 0, 0, 0, ("missing op-1",))
    for times in (1, 2):
        with pytest.raises(VerificationFailed):
            steps.accept.fn(generation, differs, 10, 1.0, 0.0)
        assert len(evidence_of(ledger, generation.workload, "backfill")) == times
    assert len(opened) == 3
    assert check_chain(ledger).intact
