"""A load over HTTP with rows that the service refuses: set aside with a reason, then replayed."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import psycopg
import pytest

from blocks import EmbeddingEndpoint
from qafila.backfill.dead_letters import Replayed, list_dead_letters, replay_dead_letters
from qafila.backfill.plan import Sample, plan_backfill
from qafila.backfill.progress import read_progress, tell
from qafila.backfill.pulse import Pulse, Stopped
from qafila.backfill.verify import verify_generation
from qafila.backfill.worker import Assignment, work
from qafila.endpoints import open_source
from qafila.errors import Refused, SpendCapReached, StaleEpoch
from qafila.ledger.connections import record_connection
from qafila.ledger.ledger import Generation, apply_workload
from qafila.stores.pgvector.store import PgvectorStore
from qafila.stores.port import Chunk
from tasks import embedding_backfill as steps
from tests.integration.backfill.conftest import ROWS
from tests.support.corpus import demo_workload, ready_generation
from tests.support.embedding_provider import KEY, MODEL, Provider, serving

PLAN = plan_backfill(
    rows=ROWS,
    shards=4,
    rows_per_shard=400,
    workers=1,
    sample=Sample(0, 0, 0, 0, 1, ()),
    price_per_million_tokens=1,
    currency="USD",
    spend_cap=5,
)
BAD = ("op-000007", "op-000400", "op-001500")


@pytest.fixture
def provider() -> Iterator[Provider]:
    with serving(Provider(64)) as provider:
        yield provider


@pytest.fixture
def over_http(
    ledger: psycopg.Connection,
    ledger_url: str,
    source_url: str,
    target_url: str,
    provider: Provider,
    monkeypatch: pytest.MonkeyPatch,
) -> Generation:
    """A generation whose embedder is a service that refuses three of the rows."""
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)
    monkeypatch.setenv("QAFILA_SECRET_PROVIDER", KEY)
    with psycopg.connect(source_url, autocommit=True) as source:
        source.execute(
            "UPDATE operation SET body = body || ' POISON' WHERE operation_id = ANY (%s)",
            [list(BAD)],
        )
    endpoint = EmbeddingEndpoint(url=provider.url, api_key=KEY)
    record_connection(ledger, "provider", endpoint)
    embedder = {
        "kind": "openai",
        "block": "provider",
        "model": MODEL,
        "dimensions": 64,
        "price_per_million_tokens": 1,
    }
    workload = demo_workload(embedder=embedder)
    generation = ready_generation(ledger, workload, source_url, target_url)
    with open_source(ledger, workload) as source_rows:
        ranges, shape = source_rows.freeze(400), source_rows.shape()
    steps.apply_plan.fn(generation, PLAN, ranges, shape)
    return generation


def load(generation: Generation) -> None:
    work(Assignment(generation.workload, generation.number, 200, led=False))


def test_a_service_that_is_away_is_named_in_the_status_line(
    ledger: psycopg.Connection, over_http: Generation, provider: Provider
) -> None:
    provider.faults.extend(["500"] * 2)
    with socket.socket() as closed, ThreadPoolExecutor(1) as pool:
        closed.bind(("127.0.0.1", 0))  # nobody listens
        away = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        record_connection(ledger, "provider", EmbeddingEndpoint(url=away, api_key=KEY))
        pulse = Pulse(over_http)
        assignment = Assignment(over_http.workload, over_http.number, 200, led=False)
        loading = pool.submit(work, assignment, pulse=pulse)
        told = f"waits for {away} {MODEL}: no connection (ConnectError)"
        ends = time.monotonic() + 10
        while told not in (line := tell(read_progress(ledger, over_http), None, "loading", "USD")):
            assert time.monotonic() < ends, line
            time.sleep(0.05)
        assert line == f"0/{ROWS} rows · loading · {told}"
        pulse.cancel("seen")
        with pytest.raises(Stopped):
            loading.result(10)
    assert read_progress(ledger, over_http).waits_for == ""  # nobody works on it any more
    record_connection(ledger, "provider", EmbeddingEndpoint(url=provider.url, api_key=KEY))
    load(over_http)
    assert read_progress(ledger, over_http).waits_for == ""


def mend(source_url: str, *keys: str) -> None:
    with psycopg.connect(source_url, autocommit=True) as source:
        source.execute(
            "UPDATE operation SET body = 'mended' WHERE operation_id = ANY (%s)", [list(keys)]
        )


def test_what_the_service_refuses_is_a_stated_gap_and_gets_in_when_it_is_mended(
    ledger: psycopg.Connection, over_http: Generation, source_url: str, provider: Provider
) -> None:
    with pytest.raises(Refused, match="not loaded"):
        replay_dead_letters(ledger, over_http)
    load(over_http)
    letters = list_dead_letters(ledger, over_http)
    assert [letter.source_key for letter in letters] == list(BAD)
    assert all("HTTP 400" in letter.reason for letter in letters)
    compared = verify_generation(ledger, over_http)
    assert (compared.complete, compared.chunks_target, compared.dead_letters) == (True, ROWS - 3, 3)

    mend(source_url, BAD[0])
    with psycopg.connect(source_url, autocommit=True) as source:
        source.execute("DELETE FROM operation WHERE operation_id = %s", [BAD[1]])
    provider.asked.clear()
    done = replay_dead_letters(ledger, over_http, batch_documents=2)
    assert done == Replayed(documents=3, gone=1, chunks=1, set_aside=1)
    assert sum(len(a.texts) for a in provider.admitted) <= 2  # one row, perhaps a probe
    (left,) = list_dead_letters(ledger, over_http)
    assert (left.source_key, left.attempts) == (BAD[2], 2)
    assert len(list_dead_letters(ledger, over_http, replayed=True)) == 3
    compared = verify_generation(ledger, over_http)
    assert (compared.complete, compared.chunks_target, compared.dead_letters) == (True, ROWS - 2, 1)

    mend(source_url, BAD[2])
    for _ in range(2):  # a second time finds nothing to do
        replay_dead_letters(ledger, over_http)
        compared = verify_generation(ledger, over_http)
        assert (compared.complete, compared.duplicates, compared.dead_letters) == (True, 0, 0)


def test_killed_after_the_write_and_before_the_mark_nothing_is_twice(
    ledger: psycopg.Connection,
    over_http: Generation,
    source_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load(over_http)
    mend(source_url, *BAD)
    real = PgvectorStore.replace

    def write_then_die(self: PgvectorStore, keys: list[str], chunks: list[Chunk], *rest: object):  # type: ignore[no-untyped-def]
        real(self, keys, chunks, *rest)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(PgvectorStore, "replace", write_then_die)
    with pytest.raises(KeyboardInterrupt):
        replay_dead_letters(ledger, over_http)
    monkeypatch.setattr(PgvectorStore, "replace", real)
    assert len(list_dead_letters(ledger, over_http)) == 3
    assert replay_dead_letters(ledger, over_http).chunks == 3
    compared = verify_generation(ledger, over_http)
    assert (compared.complete, compared.chunks_target, compared.dead_letters) == (True, ROWS, 0)


def test_a_second_replay_fences_off_the_first(
    ledger: psycopg.Connection,
    over_http: Generation,
    source_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load(over_http)
    mend(source_url, *BAD)
    real = PgvectorStore.replace

    def taken_over(self: PgvectorStore, *rest: object) -> None:
        monkeypatch.setattr(PgvectorStore, "replace", real)
        epoch = int(rest[3].epoch)  # type: ignore[attr-defined]
        self.claim_sync(epoch + 1)
        real(self, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(PgvectorStore, "replace", taken_over)
    with pytest.raises(StaleEpoch):
        replay_dead_letters(ledger, over_http)
    assert len(list_dead_letters(ledger, over_http)) == 3


def test_a_load_stops_before_the_cap_and_goes_on_when_it_is_raised(
    ledger: psycopg.Connection, over_http: Generation, provider: Provider
) -> None:
    def capped(cap: float) -> None:
        workload = demo_workload()
        raw = {
            **workload.model_dump(),
            "budget": {**workload.budget.model_dump(), "spend_cap": cap},
        }
        corpus = {
            **raw["corpus"],
            "embedder": {
                "kind": "openai",
                "block": "provider",
                "model": MODEL,
                "dimensions": 64,
                "price_per_million_tokens": 1,
            },
        }
        apply_workload(ledger, type(workload).model_validate({**raw, "corpus": corpus}))

    capped(0.02)
    with pytest.raises(SpendCapReached):
        load(over_http)
    paid = Decimal(sum(a.tokens for a in provider.admitted)) / 1_000_000
    row = ledger.execute("SELECT settled, reserved FROM qafila.spending").fetchone()
    assert row == (paid, 0)
    assert Decimal("0.01") < paid <= Decimal("0.02")
    capped(5)
    load(over_http)
    assert verify_generation(ledger, over_http).complete
