"""qafila bench retrieval on two real collections, into both targets, with a small budget."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from benchmarks import retrieval
from qafila.compare.collection import Collection, read_collection
from qafila.errors import BadInput

DATA = Path(__file__).parents[4] / "shared" / "data" / "retrieval"


@pytest.fixture
def database(target_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(target_url, autocommit=True) as connection:
        yield connection


def collection(name: str) -> Collection:
    if not (DATA / name).is_dir():
        pytest.skip(f"no collection in {DATA / name}")
    return read_collection(DATA / name)


def measure(database: psycopg.Connection[Any], name: str, **how: Any) -> dict[str, Any]:
    figures, raw = retrieval.measure(collection(name), database, **{"target": "pgvector", **how})
    assert {len(seconds) for seconds in raw.values()} == {figures["queries"]}
    left = database.execute(
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'qafila' AND tablename ~ 'bench'"
    ).fetchone()
    assert left == (0,)
    return figures


def test_cranfield(database: psycopg.Connection[Any]) -> None:
    found = measure(database, "cranfield")
    systems = found["systems"]
    assert (found["documents"], found["queries"], found["full_text"]) == (1398, 225, "english")
    assert found["documents_without_text"] == ["471", "995"]
    assert systems["keyword"]["ndcg_at_10"] == pytest.approx(0.503, abs=0.005)
    assert systems["vector"]["ndcg_at_10"] == pytest.approx(0.421, abs=0.005)
    assert systems["hybrid"]["ndcg_at_10"] == pytest.approx(0.528, abs=0.006)
    for system in systems.values():
        low, high = system["ci"]
        assert low < system["ndcg_at_10"] < high
        assert system["recall_at_100"] > 0.6
    assert found["paired"]["vector-keyword"]["verdict"] == "worse"
    assert found["paired"]["hybrid-keyword"]["verdict"] == "better"


def test_piaf_in_french(database: psycopg.Connection[Any]) -> None:
    found = measure(database, "piaf-fr", max_queries=300)
    systems = found["systems"]
    assert (found["documents"], found["queries"], found["full_text"]) == (761, 300, "french")
    assert systems["keyword"]["ndcg_at_10"] > 0.7
    # the model knows hardly any French: vectors must not drag the hybrid down
    assert systems["vector"]["ndcg_at_10"] < 0.5
    assert found["paired"]["hybrid-keyword"]["verdict"] != "worse"
    simple = measure(database, "piaf-fr", max_queries=300, language="simple")
    assert simple["systems"]["keyword"]["ndcg_at_10"] < systems["keyword"]["ndcg_at_10"]


def test_qdrant_finds_the_same_as_exact_search(database: psycopg.Connection[Any]) -> None:
    here = measure(database, "cranfield", max_queries=40)["systems"]
    there = measure(database, "cranfield", max_queries=40, target="qdrant")
    assert "Qdrant" in there["vector_by"]
    assert "PostgreSQL" in there["keyword_by"]
    for system in ("keyword", "vector", "hybrid"):
        assert there["systems"][system]["ndcg_at_10"] == pytest.approx(
            here[system]["ndcg_at_10"], abs=0.02
        )


def write(folder: Path) -> None:
    texts = ["the cat sleeps on the mat", "a dog barks at night", "zzxqj"]
    folder.joinpath("docs.jsonl").write_text(
        "\n".join(json.dumps({"id": str(n), "text": t}) for n, t in enumerate(texts))
    )
    folder.joinpath("queries.jsonl").write_text(
        '{"id": "a", "text": "cat"}\n{"id": "b", "text": "dog at night"}\n{"id": "c", "text": "x"}'
    )
    folder.joinpath("qrels.tsv").write_text("a\t0\t1\nb\t1\t1\n")


def test_a_small_folder_of_ones_own(tmp_path: Path, database: psycopg.Connection[Any]) -> None:
    write(tmp_path)
    figures, _ = retrieval.measure(read_collection(tmp_path), database, target="pgvector")
    assert figures["queries_without_judgement"] == ["c"]
    assert figures["systems"]["hybrid"]["ndcg_at_10"] == 1.0
    lines = "\n".join(retrieval.table(figures, 7))
    assert "hybrid is not told from keyword" in lines
    assert "1 queries without a relevant document were left out: c" in lines


@pytest.mark.slow
def test_the_command_prints_one_json_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bench", "--collection", str(tmp_path), "--json"])
    retrieval.main()
    found = json.loads(capsys.readouterr().out)
    assert set(found["systems"]) == {"keyword", "vector", "hybrid"}
    assert found["seed"] == 7
    assert found["machine"]["cores"] >= 1
    assert len(found["raw_seconds"]["hybrid"]) == 2
    (tmp_path / "qrels.tsv").write_text("a\t9\t1\n")
    with pytest.raises(BadInput, match=r"qrels.tsv:1: document '9'"):
        retrieval.main()
