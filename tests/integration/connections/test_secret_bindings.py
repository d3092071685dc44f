"""A connection's secret goes to the address that the operator gave it for, and to no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb
from pydantic import SecretStr

from blocks.postgres import PostgresDatabase
from qafila.errors import BadInput, QafilaError, Refused, Unavailable
from qafila.inspect import address as reaching
from qafila.ledger.connections import connection, open_postgres, record_connection, recorded_in
from qafila.ledger.secret_bindings import bind, bindings_path, require_bound
from qafila.sql import statement
from tests.support.fake_postgres import FakePostgres, fake_postgres

NAME, PASSWORD = "shop-target", "correct-horse-battery"
TRUE_ADDRESS = "postgresql://loader@127.0.0.1:5432/shop"
VARIABLE = "QAFILA_SECRET_SHOP_TARGET"


@pytest.fixture
def fake() -> Iterator[FakePostgres]:
    with fake_postgres() as fake:
        yield fake


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def forged(
    ledger: psycopg.Connection[Any], fake: FakePostgres, monkeypatch: pytest.MonkeyPatch
) -> psycopg.Connection[Any]:
    """A ledger in which somebody put another port into a connection's row."""
    monkeypatch.setenv(VARIABLE, PASSWORD)
    block = PostgresDatabase(url=TRUE_ADDRESS, password=SecretStr(PASSWORD))
    record_connection(ledger, NAME, block)
    forge(ledger, fake)
    return ledger


def forge(ledger: psycopg.Connection[Any], fake: FakePostgres) -> None:
    address = f"postgresql://loader@127.0.0.1:{fake.port}/shop"
    ledger.execute(
        statement("ledger", "put_connection"),
        {
            "name": NAME,
            "kind": "qafila-postgres",
            "settings": Jsonb({"url": address}),
            "has_secret": True,
        },
    )


def by_the_ledger(ledger: psycopg.Connection[Any]) -> None:
    open_postgres(recorded_in(ledger)(NAME), NAME)


def by_the_block(ledger: psycopg.Connection[Any]) -> None:
    connection(ledger, NAME, PostgresDatabase).connect()


def by_inspection(ledger: psycopg.Connection[Any]) -> None:
    from qafila.connections.postgres import connect_postgres

    _, settings = reaching.recorded(ledger, NAME)
    connect_postgres(**settings)


WAYS = [by_the_ledger, by_the_block, by_inspection]


@pytest.mark.parametrize("way", WAYS)
def test_a_forged_ledger_row_gets_no_password(
    forged: psycopg.Connection[Any], fake: FakePostgres, way: Any
) -> None:
    with pytest.raises(QafilaError) as refused:
        way(forged)
    assert fake.passwords == []
    assert fake.connections == 0
    told = refused.value.render()
    assert f"port={fake.port}" in told
    assert "port=5432" in told
    assert "qafila apply FILE" in told
    assert PASSWORD not in told


def test_the_bound_address_gets_its_password(
    ledger: psycopg.Connection[Any], fake: FakePostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, PASSWORD)
    address = f"postgresql://loader@127.0.0.1:{fake.port}/shop?application_name=one"
    record_connection(ledger, NAME, PostgresDatabase(url=address, password=SecretStr(PASSWORD)))
    forge(ledger, fake)  # the same place in another spelling
    with pytest.raises(Unavailable):
        by_the_ledger(ledger)
    assert fake.passwords == [PASSWORD]


def test_without_a_binding_the_companion_variable_decides(
    ledger: psycopg.Connection[Any], fake: FakePostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, PASSWORD)
    forge(ledger, fake)
    with pytest.raises(Refused, match="nobody said on this machine") as refused:
        by_the_ledger(ledger)
    assert "QAFILA_ADDRESS_SHOP_TARGET" in refused.value.remedy
    monkeypatch.setenv("QAFILA_ADDRESS_SHOP_TARGET", TRUE_ADDRESS)
    with pytest.raises(Refused, match="QAFILA_ADDRESS_SHOP_TARGET"):
        by_the_ledger(ledger)
    assert fake.connections == 0
    right = f"host=127.0.0.1 user=loader dbname=shop port={fake.port}"
    monkeypatch.setenv("QAFILA_ADDRESS_SHOP_TARGET", right)
    with pytest.raises(Unavailable):
        by_the_ledger(ledger)
    assert fake.passwords == [PASSWORD]


@pytest.mark.parametrize("more", ["user=root", "dbname=other", "sslmode=disable", "hostaddr=::1"])
def test_every_part_of_an_address_counts(
    ledger: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, more: str
) -> None:
    monkeypatch.setenv(VARIABLE, PASSWORD)
    block = PostgresDatabase(url=TRUE_ADDRESS, password=SecretStr(PASSWORD))
    record_connection(ledger, NAME, block)
    changed = make_conninfo(TRUE_ADDRESS, **dict([more.split("=")]))
    with pytest.raises(Refused, match="was given for"):
        require_bound(NAME, "qafila-postgres", {"url": changed})


def test_a_changed_file_of_bindings_is_refused(
    forged: psycopg.Connection[Any], fake: FakePostgres
) -> None:
    path = bindings_path()
    path.write_text(path.read_text().replace("port=5432", f"port={fake.port}"))
    with pytest.raises(Refused, match=r"seal of .* does not hold"):
        by_the_ledger(forged)
    assert fake.connections == 0


def test_a_first_use_never_replaces_what_is_bound(home: Path) -> None:
    first, second = {"url": "https://a.example/v1"}, {"url": "https://b.example/v1"}
    assert bind("model", "qafila-embeddings", first) is None
    assert bind("model", "qafila-embeddings", second, rebind=False) is None
    with pytest.raises(Refused, match=r"a\.example"):
        require_bound("model", "qafila-embeddings", second)
    assert bind("model", "qafila-embeddings", second) == "url=https://a.example/v1"
    require_bound("model", "qafila-embeddings", second)


def test_a_secret_in_the_address_of_a_block_is_refused(ledger: psycopg.Connection[Any]) -> None:
    block = PostgresDatabase(url=f"postgresql://loader:{PASSWORD}@127.0.0.1:5432/shop")
    with pytest.raises(BadInput) as refused:
        record_connection(ledger, NAME, block)
    assert PASSWORD not in refused.value.render()
    assert recorded_in(ledger)(NAME) is None
