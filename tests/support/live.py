"""A followed table and a loaded generation, for tests of live sync."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from qafila.ledger.ledger import Generation, move_phase
from qafila.live_sync.lifecycle import ensure_capture
from qafila.workload.model import Workload
from qafila.workload.phases import Event
from tasks import embedding_backfill as steps
from tests.support.corpus import demo_workload, make_source, ready_generation
from tests.support.loads import load_all
from tests.support.planning import plan_here

ROWS = 120
SHARD_ROWS = 100


@dataclass
class Live:
    """A workload that is followed, its newest generation, and how to write to its source."""

    ledger: psycopg.Connection[Any]
    workload: Workload
    generation: Generation
    source_url: str
    target_url: str

    def write(self, *statements: str) -> None:
        """Run statements on the source, each in a transaction of its own."""
        with psycopg.connect(self.source_url, autocommit=True) as source:
            for one in statements:
                source.execute(one)

    def load(self) -> None:
        """Load every shard of the generation, build its index, and call it backfilled."""
        load_all(self.generation, 50)
        steps.build_index.fn(self.generation)
        self.generation = move_phase(self.ledger, self.generation, Event.ALL_LOADED)

    def texts(self, number: int | None = None) -> dict[str, str]:
        """Return key and text of every chunk of a generation in the target."""
        number = number or self.generation.number
        with psycopg.connect(self.target_url) as target:
            return dict(
                target.execute(
                    f"SELECT source_key, text FROM qafila.chunk_aws_docs_search_g{number}"  # type: ignore[arg-type]
                ).fetchall()
            )


def followed(
    ledger: psycopg.Connection[Any], source_url: str, target_url: str, **corpus: Any
) -> Live:
    """Return a workload whose source is captured and whose first generation is planned."""
    make_source(source_url, ROWS)
    workload = demo_workload(live_sync=True, **corpus)
    generation = ready_generation(ledger, workload, source_url, target_url)
    ensure_capture(ledger, workload, generation)
    steps.apply_plan.fn(generation, *plan_here(generation, SHARD_ROWS, 1))
    return Live(ledger, workload, generation, source_url, target_url)


def put(key: str, body: str) -> str:
    """Return the statement that makes this the text of a row, new or not."""
    return (
        f"INSERT INTO operation VALUES ('{key}', 'T', '{body}')"
        " ON CONFLICT (operation_id) DO UPDATE SET body = excluded.body"
    )


def assert_in_step(live: Live, number: int | None = None) -> None:
    """Compare every text of a generation with the source's own rows, whoever wrote them."""
    with psycopg.connect(live.source_url) as source:
        rows = source.execute("SELECT operation_id, title, body FROM operation").fetchall()
    expected = {key: "\n".join(t for t in texts if t) for key, *texts in rows}
    assert live.texts(number) == {k: t for k, t in expected.items() if t}
