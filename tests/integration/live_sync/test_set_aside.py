"""Rows that cannot be embedded or stored are set aside by live sync, and hold up nobody."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from qafila.embedders.wordllama import WordLlamaEmbedder as Embedder
from qafila.live_sync.drain import drain
from qafila.live_sync.verify import verify_live
from qafila.stores.pgvector.store import PgvectorStore
from qafila.stores.port import Chunk, SyncMark
from tests.support.live import Live, assert_in_step, put


def test_a_rejected_text_is_set_aside_and_its_former_text_is_not_served(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Embedder.embed

    def forgetful(self: Embedder, texts: list[str]) -> Any:
        vectors = real(self, texts)
        vectors[[n for n, text in enumerate(texts) if "poison" in text]] = 0
        return vectors

    monkeypatch.setattr(Embedder, "embed", forgetful)
    live.write(put("op-000001", "poison"), put("op-000002", "fine"))
    applied = drain(live.ledger, live.workload, live.generation)
    assert (applied.rejected, "op-000001" in live.texts()) == (1, False)
    letters = "SELECT source_key, reason FROM qafila.dead_letter"
    assert [row[0] for row in live.ledger.execute(letters).fetchall()] == ["op-000001"]
    assert verify_live(live.ledger, live.generation).complete
    live.write(put("op-000001", "cured"))
    drain(live.ledger, live.workload, live.generation)
    assert live.ledger.execute(letters).fetchall() == []
    assert_in_step(live)


def test_a_row_that_loses_its_text_is_set_aside_until_it_has_one_again(live: Live) -> None:
    live.write("UPDATE operation SET title = NULL, body = NULL WHERE operation_id = 'op-000001'")
    applied = drain(live.ledger, live.workload, live.generation)
    assert (applied.documents, applied.chunks, applied.rejected) == (1, 0, 1)
    assert "op-000001" not in live.texts()
    letters = "SELECT source_key, chunk_number, reason FROM qafila.dead_letter"
    assert live.ledger.execute(letters).fetchall() == [("op-000001", 0, "the row has no text")]
    compared = verify_live(live.ledger, live.generation)
    assert (compared.complete, compared.dead_letters) == (True, 1)
    live.ledger.execute("DELETE FROM qafila.dead_letter")
    compared = verify_live(live.ledger, live.generation, rounds=1)
    assert (compared.complete, compared.missing) == (False, 1)
    live.write(put("op-000001", "a text again"))
    drain(live.ledger, live.workload, live.generation)
    assert live.ledger.execute(letters).fetchall() == []
    assert_in_step(live)


def test_a_row_that_the_store_does_not_take_holds_up_nobody(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = PgvectorStore.replace

    def picky(
        self: PgvectorStore, keys: list[str], chunks: list[Chunk], vectors: Any, mark: SyncMark
    ) -> None:
        if any("unfit" in c.text for c in chunks):
            raise psycopg.errors.ProgramLimitExceeded("it does not fit into a page")
        real(self, keys, chunks, vectors, mark)

    monkeypatch.setattr(PgvectorStore, "replace", picky)
    live.write(*[put(f"op-{n:06}", "unfit" if n == 3 else "fits") for n in range(1, 8)])
    applied = drain(live.ledger, live.workload, live.generation)
    assert (applied.documents, applied.chunks, applied.rejected) == (7, 6, 1)
    assert "op-000003" not in live.texts()
    reason = live.ledger.execute("SELECT source_key, reason FROM qafila.dead_letter").fetchone()
    assert reason == ("op-000003", "the store does not take it: it does not fit into a page")
    assert verify_live(live.ledger, live.generation).complete
    assert drain(live.ledger, live.workload, live.generation).changes == 0
