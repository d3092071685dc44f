"""One audit as the ledger has it: what its page, its artifacts and its export are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from qafila.report.facts import ChainState

Row = Mapping[str, Any]


@dataclass(frozen=True)
class AuditFacts:
    """One audit with its tables by name (see ``qafila.audit.inventory.tables.ABOUT``).

    ``chain`` None: the chain was not checked, as on the way into an artifact.
    """

    workload: str
    owner: str
    audit_id: int
    started_at: datetime
    finished_at: datetime
    verdict: str | None
    sentence: str
    body: Mapping[str, Any]
    tables: Mapping[str, Sequence[Row]]
    evidence_number: int | None
    evidence_digest: str
    made_at: datetime
    chain: ChainState | None = None

    def rows(self, table: str) -> Sequence[Row]:
        """Return the rows of one table; an audit from before it existed has none."""
        return self.tables.get(table, ())
