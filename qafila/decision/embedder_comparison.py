"""A comparison as evidence: written by the command, read by target-architecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qafila.decision.embedder_record import summary
from qafila.ledger.evidence import latest_evidence, record_evidence
from qafila.ledger.ledger import Connection

KIND = "embedders"


def record_comparison(ledger: Connection, workload: str, figures: Mapping[str, Any]) -> int:
    """Append it to the evidence of the workload; return its number."""
    return record_evidence(ledger, KIND, str(figures["sentence"]), workload=workload, body=figures)


def latest_comparison(ledger: Connection, workload: str) -> dict[str, Any] | None:
    """Return what a decision keeps of the newest comparison on this corpus; None: there is none."""
    found = latest_evidence(ledger, workload, KIND)
    if found is None:
        return None
    return summary(found.number, found.recorded_at.date().isoformat(), found.sentence, found.body)
