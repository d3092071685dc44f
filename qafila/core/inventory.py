"""One audit as a whole: what goes into evidence, into tables, and onto a director's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from qafila.core.ai_need import LEAST_COVERAGE, Candidate, CorpusVolume
from qafila.core.bills import Bill, Period, exact, money
from qafila.core.estate import (
    Collected,
    Edge,
    Outcome,
    Resource,
    judge_audit,
    outcomes_by_collector,
    volumes_by_kind,
)
from qafila.core.reconciling import Finding, Reconciliation
from qafila.core.verdict import Judgement

_ROWS_ON_A_PAGE = 12


@dataclass(frozen=True)
class Inventory:
    """Everything one audit found. ``bill`` and ``currency`` None: no bill was given."""

    workload: str
    collected: tuple[Collected, ...]
    resources: tuple[Resource, ...]
    edges: tuple[Edge, ...]
    bill: Bill | None
    currency: str | None
    reconciliation: Reconciliation
    findings: tuple[Finding, ...]
    candidates: tuple[Candidate, ...]
    corpus: CorpusVolume

    @property
    def period(self) -> Period | None:
        """Return the month that figures are given for: the last closed one, else the last."""
        if self.bill is None or self.currency is None:
            return None
        return self.bill.reference_period(self.currency)

    @property
    def network_share(self) -> float | None:
        period = self.period
        return None if self.bill is None or period is None else self.bill.network_share(period)

    @property
    def to_look_at(self) -> tuple[Finding, ...]:
        """Return all findings, what costs most first."""
        together = (
            *self.reconciliation.billed_not_found, *self.reconciliation.found_not_billed,
            *self.findings,
        )  # fmt: skip
        return tuple(sorted(together, key=lambda f: (-(f.amount or Decimal(0)), f.resource)))

    def judgement(self) -> Judgement:
        """Return the verdict, with the audit in one sentence."""
        judged = judge_audit(self.collected)
        parts = [f"{len(self.resources)} resources"]
        period = self.period
        if period is None:
            parts.append("no bill was given, so cost is not known")
        else:
            parts.append(
                f"{money(period.amount, period.currency)} in {period.month}, {period.state}"
            )
            if (share := self.network_share) is not None:
                parts.append(f"network {share:.0%}")
        return Judgement(
            judged.verdict, " · ".join([*parts, judged.sentence]) + ".", judged.numbers
        )

    def notes(self) -> list[str]:
        """Return what this audit does not know, each in one sentence."""
        notes = [
            f"{part.collector}{f' in {part.region}' if part.region else ''} is "
            f"{part.outcome.value}: {part.missed}"
            for part in self.collected
            if part.outcome is not Outcome.COMPLETE
        ]
        if self.bill is None:
            notes.append("no bill was read: spend, network share and reconciliation are not known")
            return notes
        period = self.period
        if period is not None and period.closed is None:
            notes.append(f"{self.bill.format} has no invoice ids: whether a month is closed "
                         "is not known")  # fmt: skip
        elif period is not None and not period.closed:
            notes.append(f"{period.month} is open: its total will still rise")
        others = [c for c in self.bill.currencies if c != self.currency]
        notes += [
            f"the bill also holds {money(self.bill.total(c), c)}, which is added to nothing"
            for c in others
        ]
        if "synthetic" in self.bill.issuers:
            notes.append("the bill says of itself that it is synthetic")
        if count := len(self.reconciliation.not_judged):
            notes.append(f"{count} billed resources lie where no collector saw everything: "
                         "whether they exist is not known")  # fmt: skip
        return [*notes, *self.bill.defects]

    def evidence_body(self, audit_id: int) -> dict[str, Any]:
        """Return the evidence row's body: JSON-able, money as exact text."""
        period, share = self.period, self.network_share
        return {
            "audit_id": audit_id,
            "resources": len(self.resources),
            "edges": len(self.edges),
            "collectors": outcomes_by_collector(self.collected),
            "spend_total": None if period is None else exact(period.amount),
            "currency": self.currency,
            "period": None if period is None else period.month,
            "period_closed": bool(period and period.closed),
            "periods": [
                {"period": p.month, "currency": p.currency, "amount": exact(p.amount),
                 "state": p.state}
                for p in (self.bill.periods if self.bill else ())
            ],
            "spend_by_service": {
                s.subject: exact(s.amount)
                for s in (self.bill.spend_of(self.bill.services, period)
                          if self.bill and period else ())
            },
            "network_share": None if share is None else round(share, 6),
            "volumes": {
                "corpus": {
                    "rows": self.corpus.rows,
                    "bytes": self.corpus.size_bytes,
                    "average_bytes": self.corpus.average_bytes,
                },
                "by_kind": volumes_by_kind(self.resources),
            },
            "billed_not_found": [_finding(f) for f in self.reconciliation.billed_not_found],
            "found_not_billed": [_finding(f) for f in self.reconciliation.found_not_billed],
            "findings": [_finding(f) for f in self.findings],
            "ai_need": [
                {"subject": c.subject, "owner": c.owner, "score": _round(c.score),
                 "coverage": _round(c.coverage), "ask": list(c.questions),
                 "signals": [
                     {"name": s.name, "found": s.found, "evidence": s.evidence}
                     for s in c.signals
                 ]}
                for c in self.candidates
            ],
            "notes": self.notes(),
        }  # fmt: skip

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Return the table artifacts by key: collectors, resources, spend, edges."""
        bill = self.bill
        names = {r.id: r.name for r in self.resources}
        return {
            "collectors": [
                {"collector": c.collector, "region": c.region or "all", "outcome": c.outcome.value,
                 "resources": len(c.resources), "calls": c.calls, "not seen": c.missed}
                for c in self.collected
            ],
            "resources": [
                {"kind": r.kind, "name": r.name, "region": r.region or "all",
                 "app": r.tags.get("app", ""), "owner": r.tags.get("owner", ""),
                 "size": size_text(r.size_bytes), "type": str(r.facts.get("type", "")),
                 "id": r.id}
                for r in sorted(self.resources, key=lambda r: (r.kind, r.name, r.id))
            ],
            "spend": [
                {"month": f"{s.start:%Y-%m}", "what": what, "name": s.subject,
                 "amount": exact(s.amount), "currency": s.currency, "lines": s.rows}
                for what, spends in (
                    (("service", bill.services), ("network", bill.network)) if bill else ()
                )
                for s in spends
            ],
            "edges": [
                {"from": names.get(e.from_id, e.from_id), "to": names.get(e.to_id, e.to_id),
                 "kind": e.kind, "source": e.source, "confidence": e.confidence}
                for e in self.edges
            ],
        }  # fmt: skip

    def markdown(self) -> str:
        """Return the page a director reads in a minute."""
        judged = self.judgement()
        lines = [f"**{judged.verdict.value}** · {_text(judged.sentence)}", ""]
        lines += self._spend_lines()
        lines += ["## To look at", ""]
        lines += _table(
            ("what", "resource", "a month", "why"),
            [
                (f.kind, f.resource,
                 "" if f.amount is None or f.currency is None else money(f.amount, f.currency),
                 f.sentence)
                for f in self.to_look_at[:_ROWS_ON_A_PAGE]
            ],
            "Nothing stands out.",
        )  # fmt: skip
        lines += ["## Will need AI within 12 months", ""]
        lines += _table(
            ("workload", "score", "answered", "ask"),
            [
                (c.subject,
                 f"withheld below {LEAST_COVERAGE:.0%}" if c.score is None else f"{c.score:.0%}",
                 f"{c.coverage:.0%}", "; ".join(c.questions))
                for c in self.candidates
            ],
            "No candidate.",
        )  # fmt: skip
        lines += [
            f"The corpus of {self.workload}: {self.corpus.rows:,} documents, "
            f"{size_text(self.corpus.size_bytes)} of text.",
            "", "## What we could not see", "",
        ]  # fmt: skip
        lines += [f"- {_text(note)}" for note in self.notes()] or ["- Nothing was closed to us."]
        return "\n".join(lines) + "\n"

    def _spend_lines(self) -> list[str]:
        period = self.period
        if self.bill is None or period is None:
            return ["No bill was given: `qafila run inventory-audit` takes one as `bill`.", ""]
        spent = self.bill.spend_of(self.bill.services, period)
        routes = self.bill.spend_of(self.bill.network, period)
        share = self.network_share
        title = f"## Spend in {period.month} ({period.state})"
        lines = [title, ""]
        lines += _table(
            ("service", "amount"),
            [(s.subject, money(s.amount, s.currency)) for s in spent[:_ROWS_ON_A_PAGE]]
            + [("total", money(period.amount, period.currency))],
            "",
        )
        if share is not None and routes:
            named = ", ".join(f"{s.subject} {money(s.amount, s.currency)}" for s in routes)
            lines += [f"Network is {share:.1%} of usage: {_text(named)}.", ""]
        return lines


def size_text(size_bytes: int | None) -> str:
    """Return a size for a reader, in binary units; "not known" when it was not measured."""
    if size_bytes is None:
        return "not known"
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"


def _finding(finding: Finding) -> Mapping[str, str | None]:
    return {
        "kind": finding.kind,
        "resource": finding.resource,
        "amount": None if finding.amount is None else exact(finding.amount),
        "currency": finding.currency,
        "sentence": finding.sentence,
    }


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> list[str]:
    if not rows:
        return [empty, ""]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(_text(cell) for cell in row) + " |" for row in rows]
    return [*lines, ""]


def _text(value: str) -> str:
    """Return text that cannot become markup: names in an account are written by anyone."""
    shown = value if len(value) <= 400 else value[:400] + "…"
    for sign, harmless in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("\n", " ")):
        shown = shown.replace(sign, harmless)
    return shown
