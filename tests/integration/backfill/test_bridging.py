"""A bridge: the map is fitted, its generation is opened with it, and only with it."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from qafila.backfill.bridge import fit_bridge
from qafila.backfill.generations import fingerprint_of
from qafila.backfill.progress import read_progress
from qafila.backfill.worker import Assignment, work
from qafila.errors import Refused
from qafila.ledger.ledger import Generation, apply_workload
from qafila.workload.model import Workload
from tasks import embedding_backfill as steps
from tests.integration.backfill.conftest import ROWS
from tests.support.corpus import demo_workload, ready_generation


def bridged(old: Generation, model: str, revision: str) -> Workload:
    source = {
        "kind": "pgvector",
        "block": "demo-target",
        "title": "title",
        "acl": "acl",
        "table": f"qafila.chunk_aws_docs_search_g{old.number}",
        "vectors": {"model": model, "revision": revision},
    }
    target = {"kind": "pgvector", "block": "demo-target", "full_text": "none"}
    bridge = {"calibration_texts": 400, "least_overlap": 0}
    workload = demo_workload(source=source, target=target, bridge=bridge)
    return Workload.model_validate({**workload.model_dump(), "name": "bridged"})


def test_a_bridge_is_filled_with_mapped_vectors(
    ledger: psycopg.Connection[Any],
    ledger_url: str,
    source_url: str,
    target_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)
    small = demo_workload(embedder={"kind": "wordllama", "dimensions": 64, "lowercase": True})
    old = ready_generation(ledger, small, source_url, target_url)
    steps.apply_plan.fn(old, *steps.plan_load.fn(old, 500, 1))
    work(Assignment(old.workload, old.number, 500, led=False))
    steps.build_index.fn(old)

    made = fingerprint_of(small)
    workload = bridged(old, made.model, made.model_revision)
    apply_workload(ledger, workload)
    with pytest.raises(Refused, match="not fitted yet") as refused:
        ready_generation(ledger, workload, source_url, target_url)
    assert refused.value.remedy == "qafila bridge bridged"

    digest, quality = fit_bridge(ledger, workload)
    assert quality.overlap_at_10 > 0
    generation = ready_generation(ledger, workload, source_url, target_url)
    assert generation.fingerprint == fingerprint_of(workload, digest).digest
    steps.apply_plan.fn(generation, *steps.plan_load.fn(generation, 500, 1))
    work(Assignment(generation.workload, generation.number, 500, led=False))
    loaded = read_progress(ledger, generation)
    assert (loaded.rows_loaded, loaded.copied, loaded.embedded) == (ROWS, ROWS, 0)
    with psycopg.connect(target_url) as target:
        row = target.execute(
            "SELECT count(*), min(vector_dims(embedding)) FROM qafila.chunk_bridged_g1"
        ).fetchone()
    assert row == (ROWS, 256)
