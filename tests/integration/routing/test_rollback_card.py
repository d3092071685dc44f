"""The rollback card on a real router and ledger: what it holds, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest
from psycopg.types.json import Jsonb

from qafila.core.workload import Workload
from qafila.errors import BadInput, Refused, Unavailable
from qafila.sql import statement
from tasks.alias import move_alias
from tasks.bringing_back import bring_back
from tasks.ledger import newest_generation
from tasks.rollback_card import KEY_VARIABLE, read_card, write_card
from tests.edges import Edge

NAME = "aws-docs-search"


@pytest.fixture
def card(
    edge: Edge, ledger: psycopg.Connection, workload: Workload, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:  # fmt: skip
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path / "home"))
    generation = newest_generation(ledger, NAME)
    assert generation is not None
    return write_card(ledger, workload, generation, edge.router, 7, "run-1")


def test_a_card_holds_all_that_the_way_back_needs(
    edge: Edge, ledger: psycopg.Connection, workload: Workload, card: Path, target_url: str
) -> None:
    read = read_card(card)
    assert (read.workload, read.generation, read.epoch, read.run_id) == (workload, 1, 7, "run-1")
    assert read.state == edge.router.read()
    assert {Path(p).name for p in read.files} == {"cds.json", "rds.json"}
    for path, content in read.files.items():
        assert Path(path).read_text() == content
    assert read.pointer is None
    assert read.note == ""
    beside = edge.folder / f"rollback-card-{NAME}.json"
    assert beside.read_text() == card.read_text()
    with psycopg.connect(target_url, autocommit=True) as target:
        move_alias(target, NAME, 1, 3)
    generation = newest_generation(ledger, NAME)
    assert generation is not None
    later = read_card(write_card(ledger, workload, generation, edge.router, 8))
    assert later.pointer is not None
    assert (later.pointer.generation, later.pointer.epoch) == (1, 3)


def test_no_secret_gets_onto_a_card(
    edge: Edge, ledger: psycopg.Connection, workload: Workload, card: Path, target_url: str
) -> None:
    with_password = target_url.replace("postgres:@", "postgres:hush@")
    assert "hush" in with_password
    ledger.execute(
        statement("ledger", "put_connection"),
        {"name": workload.corpus.target.block, "kind": "qafila-postgres",
         "settings": Jsonb({"url": with_password}), "has_secret": False},
    )  # fmt: skip
    generation = newest_generation(ledger, NAME)
    assert generation is not None
    text = write_card(ledger, workload, generation, edge.router, 8).read_text()
    assert "hush" not in text
    assert "QAFILA_SECRET_DEMO_TARGET" in text


def test_a_card_that_was_changed_is_refused(card: Path) -> None:
    content = json.loads(card.read_text())
    content["body"]["epoch"] = 1
    card.write_text(json.dumps(content))
    with pytest.raises(Refused, match="changed or cut off"):
        read_card(card)
    card.write_text(card.read_text()[:-20])
    with pytest.raises(BadInput, match="not a rollback card"):
        read_card(card)
    with pytest.raises(Refused, match="no rollback card"):
        read_card(card.with_name("none.json"))


def test_with_a_key_only_its_seals_count(
    edge: Edge, ledger: psycopg.Connection, workload: Workload, card: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv(KEY_VARIABLE, "k")
    with pytest.raises(Refused, match="sealed without one"):
        read_card(card)
    generation = newest_generation(ledger, NAME)
    assert generation is not None
    write_card(ledger, workload, generation, edge.router, 7)
    assert read_card(card).note == ""
    monkeypatch.delenv(KEY_VARIABLE)
    assert "not proven" in read_card(card).note


def test_no_card_is_written_that_nobody_could_go_back_by(
    edge: Edge, ledger: psycopg.Connection, workload: Workload, card: Path
) -> None:
    before = card.read_text()
    ledger.execute(
        statement("ledger", "put_connection"),
        {"name": workload.corpus.target.block, "kind": "qafila-postgres",
         "settings": Jsonb({"url": "postgresql://u@127.0.0.1:9/none"}), "has_secret": False},
    )  # fmt: skip
    generation = newest_generation(ledger, NAME)
    assert generation is not None
    with pytest.raises(Unavailable):
        write_card(ledger, workload, generation, edge.router, 8)
    assert card.read_text() == before


def test_in_the_wrong_folder_it_says_where_to_say_it_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path))
    monkeypatch.delenv("QAFILA_LEDGER_URL", raising=False)
    with pytest.raises(Unavailable) as lost:
        bring_back("docs", "empty results", holder="test")
    told = str(lost.value)
    assert all(w in told for w in ("QAFILA_HOME", "QAFILA_LEDGER_URL", "folder", "--card FILE"))
    assert ".;" not in told
