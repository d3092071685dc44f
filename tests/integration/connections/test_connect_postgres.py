"""A server on another machine proves who it is before it gets a password.

0.0.0.0 leads to this machine and is no loopback address: to the client it is another machine.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from qafila.connections.postgres import connect_postgres, protection_of
from qafila.errors import BadInput, Unavailable
from qafila.ledger.ledger import open_ledger
from tests.support.fake_postgres import FakePostgres, fake_postgres

PASSWORD = "correct-horse-battery"


@pytest.fixture
def fake() -> Iterator[FakePostgres]:
    with fake_postgres("0.0.0.0") as fake:
        yield fake


@pytest.mark.parametrize("more", ["", "sslmode=disable", "sslmode=disable require_auth=md5"])
def test_a_server_that_proves_nothing_gets_no_password(fake: FakePostgres, more: str) -> None:
    address = f"host=0.0.0.0 port={fake.port} user=loader dbname=shop {more}"
    with pytest.raises(Unavailable) as refused:
        connect_postgres(address, PASSWORD)
    assert fake.connections
    assert fake.passwords == []
    assert PASSWORD not in refused.value.render()


def test_the_ledger_is_connected_to_in_the_same_way(fake: FakePostgres) -> None:
    with pytest.raises(Unavailable) as refused:
        open_ledger(f"postgresql://me:{PASSWORD}@0.0.0.0:{fake.port}/ledger")
    assert fake.connections
    assert fake.passwords == []
    assert PASSWORD not in refused.value.render()


def test_what_the_address_says_is_done_and_logged(
    fake: FakePostgres, caplog: pytest.LogCaptureFixture
) -> None:
    address = f"postgresql://me@0.0.0.0:{fake.port}/x?sslmode=disable&require_auth=password"
    with caplog.at_level(logging.WARNING), pytest.raises(Unavailable):
        connect_postgres(address, PASSWORD)
    assert fake.passwords == [PASSWORD]
    assert "sslmode=disable" in caplog.text
    assert "require_auth=password" in caplog.text
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me@127.0.0.1:5432/x",
        "postgresql://me@[::1]/x",
        "postgresql://me@localhost/x",
        "postgresql:///x?host=/run/postgresql",
        "dbname=x",
        "host=db.example hostaddr=127.0.0.1",
    ],
)
def test_on_this_machine_nothing_is_added(address: str) -> None:
    assert protection_of(address) == {}


def test_one_host_elsewhere_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGSSLROOTCERT", raising=False)
    added = protection_of("host=127.0.0.1,db.example dbname=x")
    assert added["sslmode"] == "verify-full"
    assert added["require_auth"] == "scram-sha-256"
    own = protection_of("host=db.example sslrootcert=/etc/ours.pem")
    assert own == {"sslmode": "verify-full", "require_auth": "scram-sha-256"}


def test_an_address_that_cannot_be_read_is_not_repeated() -> None:
    with pytest.raises(BadInput) as refused:
        connect_postgres(f"host=h password={PASSWORD} and more")
    assert PASSWORD not in refused.value.render()
    assert refused.value.__cause__ is None
