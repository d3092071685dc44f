"""Everything one audit found, its verdict in one sentence, and what it does not know."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from qafila.audit.ai_need.assessment import CorpusVolume
from qafila.audit.ai_need.signal import Candidate
from qafila.audit.bills.model import Bill, Period, money
from qafila.audit.bills.reconciliation import Finding, Reconciliation
from qafila.audit.code_scan.model import LockIn
from qafila.audit.dependencies.waves import WavePlan
from qafila.audit.estate import Collected, Edge, Resource, judge_audit
from qafila.audit.inventory.difference import ServiceSpend
from qafila.audit.inventory.phrases import gaps, percent
from qafila.audit.network_cost.gravity import WhatIf
from qafila.audit.network_cost.ledger import Ledger
from qafila.workload.verdict import Judgement


@dataclass(frozen=True)
class Inventory:
    """Everything one audit found.

    ``collected``: what collectors saw, place by place. ``read``: how far files were read (bills,
    traces, flow logs, code, the workload's corpus). ``bill`` and ``currency`` None: no bill was
    given, or none could be read. ``corpus`` None: it could not be measured. ``spend_items``: what
    the month of ``period`` is made of. ``gravity``: what moving one end of a pair would cost.
    ``waves`` None: nothing was seen that could move; ``lock_in`` None: no code was named.
    """

    workload: str
    collected: tuple[Collected, ...]
    resources: tuple[Resource, ...]
    edges: tuple[Edge, ...]
    bill: Bill | None
    currency: str | None
    reconciliation: Reconciliation
    findings: tuple[Finding, ...]
    candidates: tuple[Candidate, ...]
    corpus: CorpusVolume | None
    read: tuple[Collected, ...] = ()
    spend_items: tuple[ServiceSpend, ...] = ()
    gravity: tuple[WhatIf, ...] = ()
    waves: WavePlan | None = None
    lock_in: LockIn | None = None

    @property
    def looked(self) -> tuple[Collected, ...]:
        """Return collectors and files together: everything that was asked for."""
        return (*self.collected, *self.read)

    @property
    def period(self) -> Period | None:
        """Return the month that figures are given for: the last closed one, else the last."""
        if self.bill is None or self.currency is None:
            return None
        return self.bill.reference_period(self.currency)

    @property
    def network(self) -> Ledger:
        """Return the network side of the bill; of no bill it is empty."""
        return Ledger() if self.bill is None else self.bill.ledger

    @property
    def network_share(self) -> float | None:
        period = self.period
        return None if self.bill is None or period is None else self.bill.network_share(period)

    @property
    def to_look_at(self) -> tuple[Finding, ...]:
        """Return all findings, what costs most first."""
        together = (
            *self.reconciliation.billed_not_found,
            *self.reconciliation.found_not_billed,
            *self.findings,
        )
        return tuple(sorted(together, key=lambda f: (-(f.amount or Decimal(0)), f.resource)))

    def judgement(self) -> Judgement:
        """Return the verdict, with the audit in one sentence."""
        judged = judge_audit(self.looked)
        count = len(self.resources)
        parts = [f"{count:,} resource{'' if count == 1 else 's'}"]
        if not self.collected:  # nobody looked, and that is not "0 resources"
            parts = ["no account, cluster or database was read"]
        period = self.period
        if period is None:
            parts.append("no bill was read, so cost is not known")
        else:
            parts.append(
                f"{money(period.amount, period.currency)} in {period.month}, "
                f"{'whether closed is not known' if period.closed is None else period.state}"
            )
            if (share := self.network_share) is not None:
                parts.append(f"network {percent(share)}")
        return Judgement(
            judged.verdict, " · ".join([*parts, judged.sentence]) + ".", judged.numbers
        )

    def notes(self) -> list[str]:
        """Return what this audit does not know, each in one sentence."""
        notes = gaps(self.looked)
        if self.corpus is None and not any(part.collector == "corpus" for part in self.read):
            notes.append(f"the corpus of {self.workload} was not measured")
        if not self.collected:
            notes.append("no account, cluster or database was read: what exists is not known")
        if self.bill is None:
            notes.append("no bill was read: spend, network share and reconciliation are not known")
            return notes
        return [*notes, *self._doubts(self.bill)]

    def _doubts(self, bill: Bill) -> list[str]:
        period, notes = self.period, []
        if period is not None and period.closed is None:
            notes.append(
                f"{bill.format} has no invoice ids: whether a month is closed is not known"
            )
        elif period is not None and not period.closed:
            notes.append(f"{period.month} is open: its total will still rise")
        notes += [
            f"the bill also holds {money(bill.total(c), c)}, which is added to nothing"
            for c in bill.currencies
            if c != self.currency
        ]
        if "synthetic" in bill.issuers:
            notes.append("the bill says of itself that it is synthetic")
        doubtful = self.reconciliation.not_judged
        billed = sum(f.kind == "billed not found" for f in doubtful)
        if billed:
            one = billed == 1
            notes.append(
                f"{billed:,} billed resource{' lies' if one else 's lie'} where no "
                f"collector saw everything: whether {'it exists' if one else 'they exist'}"
                " is not known"
            )
        if found := len(doubtful) - billed:
            notes.append(
                f"whether {found:,} of the resources {'is' if found == 1 else 'are'} "
                "billed is not known: the bill does not name their kind"
            )
        return [*notes, *(str(d) for d in bill.defects)]
