"""The rollback card on a real router and ledger: what it holds, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import psycopg
import pytest
from psycopg.types.json import Jsonb

from qafila.errors import BadInput, Refused, Unavailable
from qafila.ledger.ledger import newest_generation
from qafila.rollback.card import KEY_VARIABLE, read_card, write_card
from qafila.rollback.rollback_by_card import roll_back_by_card
from qafila.rollback.way_back import bring_back
from qafila.seal import seal
from qafila.sql import statement
from qafila.stores.pointer_row import move_alias
from qafila.workload.model import Workload
from tests.support.edges import Edge
from tests.support.fake_postgres import fake_postgres

NAME = "aws-docs-search"


@pytest.fixture
def card(
    edge: Edge,
    ledger: psycopg.Connection,
    workload: Workload,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
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
        {
            "name": workload.corpus.target.block,
            "kind": "qafila-postgres",
            "settings": Jsonb({"url": with_password}),
            "has_secret": False,
        },
    )
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
    edge: Edge,
    ledger: psycopg.Connection,
    workload: Workload,
    card: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "k")
    with pytest.raises(Refused, match="another key"):
        read_card(card)
    generation = newest_generation(ledger, NAME)
    assert generation is not None
    write_card(ledger, workload, generation, edge.router, 7)
    assert read_card(card).note == ""
    monkeypatch.delenv(KEY_VARIABLE)
    with pytest.raises(Refused, match="another key"):
        read_card(card)


def forged(card: Path, *, key: str | None) -> Path:
    """Write a card of the same content by somebody who has no key, or another; return its path."""
    body = json.loads(card.read_text())["body"]
    path = card.with_name("forged.json")
    path.write_text(json.dumps({"body": body, "seal": asdict(seal(body, key))}))
    return path


@pytest.mark.parametrize("key", [None, "another key"])
def test_a_card_that_this_home_did_not_seal_is_refused(card: Path, key: str | None) -> None:
    with pytest.raises(Refused) as refused:
        read_card(forged(card, key=key))
    assert "all weights" in refused.value.kept
    assert "qafila rollback aws-docs-search --card" in refused.value.remedy


def test_a_card_of_an_earlier_version_is_taken_by_its_digest_alone(card: Path) -> None:
    path = forged(card, key=None)
    digest = json.loads(path.read_text())["seal"]["sha256"]
    with pytest.raises(Refused) as refused:
        read_card(path)
    assert f"--accept-digest {digest}" in refused.value.remedy
    with pytest.raises(Refused):
        read_card(path, accepted="0" * 64)
    assert "accepted by its digest" in read_card(path, accepted=digest).note
    content = json.loads(path.read_text())
    content["body"]["epoch"] = 1
    path.write_text(json.dumps(content))
    with pytest.raises(Refused, match="changed or cut off"):
        read_card(path, accepted=digest)


def test_a_forged_card_sends_no_password(
    card: Path, target_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that is sealed right or accepted: the address is not the one of the secret."""
    monkeypatch.setenv("QAFILA_SECRET_DEMO_TARGET", "correct-horse-battery")
    with fake_postgres() as fake:
        body = json.loads(card.read_text())["body"]
        body["connections"]["demo-target"] |= {
            "settings": {"url": f"postgresql://postgres@127.0.0.1:{fake.port}/shop"},
            "has_secret": True,
        }
        path = card.with_name("forged.json")
        sealed = seal(body)
        path.write_text(json.dumps({"body": body, "seal": asdict(sealed)}))
        with pytest.raises(Refused, match="seal"):
            roll_back_by_card(path, "test", proof_seconds=0.1)
        told = roll_back_by_card(path, "test", proof_seconds=0.1, accepted=sealed.sha256)
        assert fake.connections == 0
        assert fake.passwords == []
    assert "nobody said on this machine which address" in told.sentence


def test_no_card_is_written_that_nobody_could_go_back_by(
    edge: Edge, ledger: psycopg.Connection, workload: Workload, card: Path
) -> None:
    before = card.read_text()
    ledger.execute(
        statement("ledger", "put_connection"),
        {
            "name": workload.corpus.target.block,
            "kind": "qafila-postgres",
            "settings": Jsonb({"url": "postgresql://u@127.0.0.1:9/none"}),
            "has_secret": False,
        },
    )
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
