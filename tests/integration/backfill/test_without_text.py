"""A row without text is a stated gap from the load to the comparison, whatever is around it."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest

from qafila.backfill.dead_letters import Replayed, list_dead_letters, replay_dead_letters
from qafila.backfill.generations import fingerprint_of
from qafila.backfill.load import NO_TEXT
from qafila.backfill.verify import verify_generation
from qafila.backfill.worker import Assignment, work
from qafila.ledger.ledger import Generation
from qafila.stores.pgvector.store import PgvectorStore
from qafila.stores.port import Checkpoint, Chunk, Place
from qafila.workload.fingerprint import text_digest
from qafila.workload.model import Workload
from tasks import embedding_backfill as steps
from tests.integration.backfill.conftest import ROWS
from tests.support.corpus import demo_workload, ready_generation

Ledger = psycopg.Connection[Any]
WINDOWS = {"method": "window", "max_characters": 100, "overlap_characters": 0}


@pytest.fixture(autouse=True)
def known_ledger(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)


def load(ledger: Ledger, workload: Workload, source_url: str, target_url: str) -> Generation:
    generation = ready_generation(ledger, workload, source_url, target_url)
    steps.apply_plan.fn(generation, *steps.plan_load.fn(generation, 500, 1))
    work(Assignment(generation.workload, generation.number, 50, led=False))
    return generation


def letters(ledger: Ledger, generation: Generation) -> list[tuple[str, int, str]]:
    found = list_dead_letters(ledger, generation)
    return [(one.source_key, one.chunk_number, one.reason) for one in found]


def test_an_empty_document_beside_one_of_two_chunks_is_set_aside(
    ledger: Ledger, source_url: str, target_url: str
) -> None:
    """In their batch are as many chunks as rows, which says nothing."""
    with psycopg.connect(source_url, autocommit=True) as source:
        source.execute(
            "UPDATE operation SET title = NULL, body = NULL WHERE operation_id = 'op-000007'"
        )
        source.execute(
            "UPDATE operation SET body = repeat('A sentence is here. ', 6)"
            " WHERE operation_id = 'op-000008'"
        )
    generation = load(ledger, demo_workload(chunking=WINDOWS), source_url, target_url)
    assert letters(ledger, generation) == [("op-000007", 0, NO_TEXT)]
    compared = verify_generation(ledger, generation)
    assert compared.complete, compared
    assert (compared.chunks_target, compared.dead_letters) == (ROWS, 1)

    # a replay that finds it empty still is no silent gap either
    assert replay_dead_letters(ledger, generation) == Replayed(documents=1, set_aside=1)
    assert letters(ledger, generation) == [("op-000007", 0, NO_TEXT)]
    ledger.execute("DELETE FROM qafila.dead_letter")
    compared = verify_generation(ledger, generation)
    assert (compared.complete, compared.missing) == (False, 1)
    assert compared.examples == ("missing ('op-000007', 0)",)


@pytest.mark.parametrize("model", ["copied", "embedded"])
def test_an_empty_chunk_of_an_index_is_set_aside_by_its_own_number(
    ledger: Ledger, source_url: str, target_url: str, model: str
) -> None:
    made = fingerprint_of(demo_workload())
    with psycopg.connect(target_url, autocommit=True) as target:
        fill_index(PgvectorStore(target, Place("old", 1, "0" * 16, 256)))
    source = {
        "kind": "pgvector",
        "block": "demo-target",
        "table": "qafila.chunk_old_g1",
        "vectors": {
            "model": made.model if model == "copied" else "other",
            "revision": made.model_revision,
        },
    }
    generation = load(ledger, demo_workload(source=source), source_url, target_url)
    (letter,) = letters(ledger, generation)
    assert letter[:2] == ("d1", 1)
    assert "no text" in letter[2]
    compared = verify_generation(ledger, generation)
    assert compared.complete, compared
    assert (compared.rows_source, compared.chunks_target, compared.dead_letters) == (6, 5, 1)


def fill_index(store: PgvectorStore) -> None:
    """Write two documents of three chunks each, of which one has lost its text."""
    texts = [f"Chunk number {n} of a document" for n in range(6)]
    texts[4] = ""
    chunks = [
        Chunk(f"d{n // 3}", n % 3, 0, len(text), "", text, text_digest(text), ["everyone"])
        for n, text in enumerate(texts)
    ]
    vectors = np.eye(256, dtype=np.float32)[:6]
    store.prepare()
    store.claim(0, 1)
    store.write(chunks, vectors, Checkpoint(0, 1, ["d1", "2"], 6, 6, True))
    store.build_index()
