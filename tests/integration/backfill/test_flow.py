"""The whole flow under a Prefect server of its own, with each engine that runs in one process."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from blocks import EnvoyEdge, QdrantServer
from flows.embedding_backfill import EmbeddingBackfill, embedding_backfill
from qafila.backfill.claims import list_shards
from qafila.backfill.control import read_load
from qafila.errors import VerificationFailed
from qafila.ledger.connections import record_connection
from qafila.ledger.evidence import latest_evidence
from qafila.ledger.ledger import Generation, newest_generation, read_workload
from tasks.starting import follow
from tests.integration.backfill.conftest import ROWS
from tests.support.corpus import demo_workload, ready_generation
from tests.support.routes import install_routes

needs_ray = pytest.mark.skipif(
    find_spec("prefect_ray") is None, reason="prefect-ray is an extra: pip install prefect-ray"
)


@pytest.fixture
def routed(ledger: psycopg.Connection, generation: Generation, tmp_path: Path) -> Generation:
    """The generation, with a router that has its routes."""
    return route(ledger, generation, tmp_path)


def route(ledger: psycopg.Connection, generation: Generation, tmp_path: Path) -> Generation:
    edge = EnvoyEdge(
        directory=str(tmp_path),
        admin_url="http://127.0.0.1:9",
        listen_url="http://127.0.0.1:9",
        allowed_loopback=["any"],
    )
    record_connection(ledger, "demo-edge", edge)
    workload, _ = read_workload(ledger, generation.workload)
    install_routes(ledger, workload).close()
    return generation


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(
    "engine", ["processes", "threads", "dask", pytest.param("ray", marks=needs_ray)]
)
def test_every_engine_loads_every_row_once(
    ledger: psycopg.Connection, routed: Generation, engine: Any
) -> None:
    body = embedding_backfill(
        EmbeddingBackfill(workload=routed.workload, engine=engine, batch_rows=100)
    )
    assert (body["verdict"], body["rows_source"], body["rows_target"]) == ("PASS", ROWS, ROWS)
    assert body["rows_loaded_by_this_run"] == ROWS
    after = newest_generation(ledger, routed.workload)
    assert after is not None
    assert after.phase == "backfilled"
    evidence = latest_evidence(ledger, routed.workload, "backfill")
    assert evidence is not None
    assert evidence.body["digests_equal"]
    assert evidence.run_id is not None
    told: list[str] = []
    follow(UUID(evidence.run_id), told.append)
    shards = {m[1] for line in told if (m := re.search(r" shard (\d+): \d+ rows at ", line))}
    # whichever process said it; what a Ray worker says does not come to the server
    assert len(shards) == 8 or engine == "ray"


@pytest.mark.usefixtures("prefect_server")
def test_a_load_begins_at_the_speed_that_was_asked_for(
    ledger: psycopg.Connection, routed: Generation
) -> None:
    body = embedding_backfill(
        EmbeddingBackfill(workload=routed.workload, engine="threads", workers=1, speed=60)
    )
    assert (body["verdict"], body["rows_target"]) == ("PASS", ROWS)
    load = read_load(ledger, routed)
    assert load is not None
    assert (load.speed, load.changed_by) == (0.6, "its run")


@pytest.mark.usefixtures("prefect_server")
def test_a_reload_finds_what_came_since_and_shares_it_among_its_shards(
    ledger: psycopg.Connection, routed: Generation, source_url: str
) -> None:
    request = EmbeddingBackfill(workload=routed.workload, engine="threads", workers=1)
    assert embedding_backfill(request)["rows_target"] == ROWS
    with psycopg.connect(source_url, autocommit=True) as source:
        source.execute(
            "INSERT INTO operation SELECT 'zz-' || n, 'New', 'b' || n"
            " FROM generate_series(1, 900) AS n"
        )
    with pytest.raises(VerificationFailed, match="900"):
        embedding_backfill(request)
    again = request.model_copy(update={"reload": True, "rows_per_shard": 300})
    body = embedding_backfill(again)
    assert (body["verdict"], body["rows_target"]) == ("PASS", ROWS + 900)
    assert [s.rows_loaded for s in list_shards(ledger, routed)] == [300] * 8


def test_a_speed_is_a_share(routed: Generation) -> None:
    for speed in (0, 101):
        with pytest.raises(ValueError, match="speed"):
            EmbeddingBackfill(workload=routed.workload, speed=speed)


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("engine", ["processes", "threads"])
def test_a_folder_of_qdrant_is_loaded_by_the_one_process_that_can_open_it(
    ledger: psycopg.Connection,
    ledger_url: str,
    source_url: str,
    target_url: str,
    tmp_path: Path,
    engine: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)
    record_connection(ledger, "points", QdrantServer(path=str(tmp_path / "qdrant")))
    workload = demo_workload(target={"kind": "qdrant", "block": "points"})
    generation = ready_generation(ledger, workload, source_url, target_url)
    routed = route(ledger, generation, tmp_path)
    request = EmbeddingBackfill(workload=routed.workload, engine=engine, workers=2, dry_run=True)
    plan = embedding_backfill(request)
    assert plan["workers"] == 1
    assert any("1 worker loads, not the 2" in risk for risk in plan["risks"])
    body = embedding_backfill(request.model_copy(update={"dry_run": False}))
    assert (body["verdict"], body["rows_loaded_by_this_run"]) == ("PASS", ROWS)
    assert "waited for" not in caplog.text
