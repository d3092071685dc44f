"""Ledger, router file and router: who stops when they differ, and how a person settles it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg.types.json import Jsonb

from qafila.errors import Disagreement, Refused
from qafila.ledger.evidence import latest_evidence
from qafila.ledger.leases import read_lease, take_lease
from qafila.rollback.agreement import adopt, compare, require_agreement, restore
from qafila.sql import statement
from qafila.workload.model import Workload
from qafila.workload.phases import Phase
from tests.support.edges import Edge

NAME = "aws-docs-search"
ROOT = Path(__file__).parents[3]


def stand(ledger: psycopg.Connection, phase: Phase) -> None:
    ledger.execute("UPDATE qafila.generation SET phase = %s", [phase.value])


def weigh(edge: Edge, percent: int, **more: int) -> None:
    epoch = edge.router.read().epoch
    edge.router.acknowledged(edge.router.write(percent, epoch=epoch, why="by hand", **more))


def look(ledger: psycopg.Connection, weight: int) -> None:
    ledger.execute(
        statement("canary", "put_look"),
        {
            "workload": NAME,
            "generation": 1,
            "rollout": "r",
            "number": 1,
            "step": "s",
            "weight": weight,
            "acknowledged": weight,
            "observed": None,
            "counts": Jsonb({}),
            "e_values": Jsonb({}),
            "verdict": "PASS",
            "sentence": "",
        },
    )


def test_in_agreement_nothing_is_said(
    edge: Edge, ledger: psycopg.Connection, workload: Workload
) -> None:
    stand(ledger, Phase.DRILLED)
    found = require_agreement(ledger, workload, edge.router)
    assert (found.expected, found.written, found.reported) == (
        0,
        edge.router.read(),
        edge.router.read(),
    )
    stand(ledger, Phase.PROMOTED)
    weigh(edge, 100)
    assert require_agreement(ledger, workload, edge.router).expected == 100


@pytest.mark.parametrize(
    ("phase", "looked_at", "percent", "says"),
    [
        (Phase.DRILLED, None, 25, "the ledger says 0 %"),
        (Phase.PROMOTED, None, 0, "the ledger says 100 %"),
        (Phase.CANARY, 50, 5, "the ledger says 50 %"),
    ],
)
def test_another_weight_than_the_ledgers_stops_and_shows_both(
    edge: Edge,
    ledger: psycopg.Connection,
    workload: Workload,
    phase: Phase,
    looked_at: int | None,
    percent: int,
    says: str,
) -> None:
    stand(ledger, phase)
    if looked_at is not None:
        look(ledger, looked_at)
    weigh(edge, percent)
    before = edge.router.read()
    with pytest.raises(Disagreement) as caught:
        require_agreement(ledger, workload, edge.router)
    assert says in caught.value.what
    assert f"{percent} % on the candidate" in caught.value.said["written"]
    assert caught.value.said.keys() == {"ledger", "written", "reported"}
    assert f"qafila router adopt {NAME}" in caught.value.remedy
    assert f"qafila router restore {NAME}" in caught.value.remedy
    assert edge.router.read() == before


def test_a_router_that_did_not_take_its_file_is_a_disagreement(
    edge: Edge, ledger: psycopg.Connection, workload: Workload
) -> None:
    stand(ledger, Phase.DRILLED)
    routes = edge.folder / "rds.json"
    content = routes.read_text()
    edge.router.acknowledged(edge.router.write(0, epoch=edge.router.read().epoch, why="zero"))
    now = routes.read_text()
    version = edge.router.read().version
    routes.write_text(now.replace(version, version.replace("/0pct", "/25pct")))  # in place: ignored
    assert content != routes.read_text()
    with pytest.raises(Disagreement, match="the router works with 0 %"):
        require_agreement(ledger, workload, edge.router)
    with pytest.raises(Refused, match="does not agree with itself"):
        adopt(ledger, workload, edge.router, "a hand in the file")
    assert restore(ledger, workload, edge.router, "a hand in the file").agrees
    assert edge.router.read().candidate_percent == 0


def test_adopting_is_evidence_and_fences_whoever_wrote_before(
    edge: Edge, ledger: psycopg.Connection, workload: Workload
) -> None:
    stand(ledger, Phase.DRILLED)
    weigh(edge, 25)
    before = edge.router.read()
    assert adopt(ledger, workload, edge.router, "moved by hand in the night").agrees
    assert edge.router.read() == before
    kept = latest_evidence(ledger, NAME, "router-adopted")
    assert kept is not None
    assert "moved by hand in the night" in kept.sentence
    lease = read_lease(ledger, NAME)
    assert lease is not None
    assert lease.epoch > before.epoch
    assert require_agreement(ledger, workload, edge.router).expected == 25
    weigh(edge, 50)  # what was adopted is that version, not any
    with pytest.raises(Disagreement):
        require_agreement(ledger, workload, edge.router)


def test_restoring_writes_what_the_ledger_says_or_nothing(
    edge: Edge, ledger: psycopg.Connection, workload: Workload
) -> None:
    stand(ledger, Phase.PROMOTED)
    assert restore(ledger, workload, edge.router, "the file was lost").agrees
    assert edge.router.read().candidate_percent == 100
    assert latest_evidence(ledger, NAME, "router-restored") is not None
    stand(ledger, Phase.CANARY)
    look(ledger, 25)
    with pytest.raises(Refused, match="does not say 0 or 100"):
        restore(ledger, workload, edge.router, "go on")
    stand(ledger, Phase.DRILLED)
    take_lease(ledger, NAME, "canary-cutover")
    with pytest.raises(Refused, match="was alive"):
        restore(ledger, workload, edge.router, "meanwhile")
    assert edge.router.read().candidate_percent == 100


def test_a_mirror_that_nobody_holds_is_told(
    edge: Edge, ledger: psycopg.Connection, workload: Workload
) -> None:
    stand(ledger, Phase.DRILLED)
    weigh(edge, 0, mirror_percent=10)
    assert "nobody holds the lease" in compare(ledger, workload, edge.router).problems[0]
    weigh(edge, 0)


def test_the_commands_show_and_settle_it(
    edge: Edge, ledger: psycopg.Connection, workload: Workload, ledger_url: str, tmp_path: Path
) -> None:
    stand(ledger, Phase.DRILLED)
    weigh(edge, 25)
    environment = {**os.environ, "QAFILA_LEDGER_URL": ledger_url, "QAFILA_HOME": str(tmp_path)}

    def router(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "qafila.cli", "router", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    shown = router("show", NAME)
    assert shown.returncode == 4, shown.stderr
    assert "the ledger says 0 %" in shown.stdout
    assert f"qafila router restore {NAME}" in shown.stdout
    assert router("restore", NAME).returncode == 0
    agreed = router("show", NAME)
    assert agreed.returncode == 0
    assert "They agree" in agreed.stdout
