"""How the newest preflight of a generation ended; read without Prefect, as status must."""

from __future__ import annotations

from dataclasses import dataclass

from qafila.ledger.evidence import latest_evidence
from qafila.ledger.ledger import Connection
from qafila.workload.verdict import Verdict


@dataclass(frozen=True)
class Preflight:
    """The newest outcome of one generation: its verdict, and who overrode a FAIL, and why."""

    verdict: Verdict
    sentence: str
    overridden_by: str | None
    reason: str

    @property
    def allows(self) -> bool:
        """Tell whether a backfill may start."""
        return self.verdict is Verdict.PASS or self.overridden_by is not None


def latest_preflight(ledger: Connection, workload: str, generation: int) -> Preflight | None:
    """Return the newest preflight of a generation, if it ever ran."""
    found = latest_evidence(ledger, workload, "preflight", generation=generation)
    if found is None:
        return None
    override = found.body.get("override") or {}
    return Preflight(
        Verdict(found.verdict or Verdict.ERROR),
        found.sentence,
        override.get("by"),
        str(override.get("reason", "")),
    )
