"""The drill as a run in Prefect: certificate, phase, card, picture; again after a promotion."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from flows.rollback_drill import RollbackDrill, rollback_drill
from qafila.core.phases import Phase
from qafila.core.workload import Workload
from qafila.errors import Inconclusive
from tasks.ledger import newest_generation
from tasks.rollback_card import card_path
from tests.edges import Edge


@pytest.mark.usefixtures("traffic", "prefect_server")
def test_a_drill_certifies_and_drills_again_what_was_promoted(
    edge: Edge,
    workload: Workload,
    ledger: psycopg.Connection,
    ledger_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path))
    ledger.execute("UPDATE qafila.generation SET phase = 'validated'")
    asked = RollbackDrill(workload=workload.name, flips=2, hold_seconds=0.4, least_users=10)

    first = rollback_drill(asked)
    assert first["verdict"] == "PASS"
    assert first["drilled"] == "candidate"
    assert first["p50_ms"] <= first["p99_ms"] <= first["max_ms"]
    assert first["user_requests"] >= 10
    assert card_path(workload.name).exists()
    now = newest_generation(ledger, workload.name)
    assert now is not None
    assert now.phase == Phase.DRILLED

    ledger.execute("UPDATE qafila.generation SET phase = 'promoted'")
    router = edge.router
    router.acknowledged(router.write(100, epoch=router.read().epoch, why="promoted"))
    before = card_path(workload.name).read_text()
    again = rollback_drill(asked)
    assert (again["verdict"], again["drilled"]) == ("PASS", "baseline")
    assert again["certificate_id"] > first["certificate_id"]
    assert router.read().candidate_percent == 100
    assert card_path(workload.name).read_text() == before

    few = asked.model_copy(update={"flips": 1, "least_users": 100_000})
    with pytest.raises(Inconclusive, match="of at least 100000 users"):
        rollback_drill(few)
    assert router.read().candidate_percent == 100
