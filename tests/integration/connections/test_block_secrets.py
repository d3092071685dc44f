"""A password that only a Prefect block has, where commands need it and Prefect is silent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from prefect import flow
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from blocks.postgres import PostgresDatabase
from qafila.connections.settings import PostgresConnection
from qafila.errors import Refused, Unavailable
from qafila.ledger.connections import (
    adopt_block,
    connection,
    open_postgres,
    record_connection,
    recorded_in,
)
from tests.support.fake_postgres import fake_postgres

BLOCK = PostgresDatabase(url="postgresql://reader@127.0.0.1:5432/shop", password=SecretStr("hush"))


def test_a_silent_prefect_is_named_with_everywhere_it_was_looked_for(
    ledger: psycopg.Connection[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    record_connection(ledger, "shop-source", BLOCK)
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(Unavailable) as caught,
    ):
        connection(ledger, "shop-source", PostgresDatabase)
    told = caught.value.render()
    for part in ("QAFILA_SECRET_SHOP_SOURCE", "qafila-postgres/shop-source", "silent", "qafila up"):
        assert part in told
    monkeypatch.setenv("QAFILA_SECRET_SHOP_SOURCE", "hush")
    found = connection(ledger, "shop-source", PostgresDatabase)
    assert found.password is not None
    assert found.password.get_secret_value() == "hush"


@pytest.mark.usefixtures("prefect_server")
def test_a_block_that_is_not_there_is_told_from_a_silent_server(
    ledger: psycopg.Connection[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_UI_URL", "http://127.0.0.1:4200")
    told = adopt_block(ledger, "shop-nowhere", PostgresDatabase) or ""
    assert "there is none" in told
    assert "http://127.0.0.1:4200/blocks/catalog/qafila-postgres/create" in told
    record_connection(ledger, "shop-nowhere", BLOCK)
    with pytest.raises(Unavailable, match="there is none"):
        connection(ledger, "shop-nowhere", PostgresDatabase)


@pytest.mark.usefixtures("prefect_server")
def test_a_block_gives_its_password_to_its_own_address_alone(
    ledger: psycopg.Connection[object],
) -> None:
    with fake_postgres() as fake:
        BLOCK.save("shop-target", overwrite=True)
        other = PostgresDatabase(
            url=f"postgresql://reader@127.0.0.1:{fake.port}/shop", password=SecretStr("other")
        )
        record_connection(ledger, "shop-target", other)
        with pytest.raises(Refused, match="qafila-postgres/shop-target"):
            connection(ledger, "shop-target", PostgresDatabase)
        with pytest.raises(Refused, match="qafila-postgres/shop-target"):
            open_postgres(recorded_in(ledger)("shop-target"), "shop-target")
        assert fake.connections == 0


@pytest.mark.usefixtures("prefect_server")
def test_a_block_is_adopted_and_its_secret_found_in_a_run_too(
    ledger: psycopg.Connection[object],
) -> None:
    BLOCK.save("shop-adopted", overwrite=True)
    assert adopt_block(ledger, "shop-adopted", PostgresConnection) is None

    @flow
    def ask() -> tuple[object, object]:
        found = connection(ledger, "shop-adopted", PostgresConnection)
        return type(found), found.password

    assert ask() == (PostgresConnection, BLOCK.password)
    stored = ledger.execute("SELECT settings::text FROM qafila.connection").fetchall()
    assert "hush" not in str(stored)


def test_a_command_without_a_stack_starts_no_server_of_prefects(tmp_path: Path) -> None:
    code = (
        "from typer.testing import CliRunner; from qafila.cli import app;"
        "CliRunner().invoke(app, ['load', 'show', 'docs']);"
        "from prefect.client.orchestration import get_client; get_client(sync_client=True)"
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "QAFILA_"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={**kept, "QAFILA_HOME": str(tmp_path), "PREFECT_HOME": str(tmp_path / "prefect")},
    )
    assert "No Prefect API URL" in done.stderr, done.stderr
