"""Collect what the ledger knows about one generation and write it as one HTML file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from psycopg.rows import class_row, dict_row

from qafila.errors import Refused
from qafila.ledger.approvals import read_approval
from qafila.ledger.certificates import counted
from qafila.ledger.evidence import check_chain
from qafila.ledger.ledger import Connection, Generation, read_workload
from qafila.report.facts import ApprovalRow, ChainState, EvidenceRow, Facts
from qafila.report.files import save_page
from qafila.report.page import render, render_validation
from qafila.report.rollout_reader import newest_rollout
from qafila.report.validation import Validation, validation_of
from qafila.settings import home
from qafila.sql import statement
from qafila.workload.phases import Phase, next_step

MOST_ROWS = 1000


def write_report(
    ledger: Connection, workload: str, generation: int | None = None, to: Path | None = None
) -> Path:
    """Write the report of one generation, the newest by default, and return the file.

    Works at any phase: what has not happened yet says so. Reads the ledger only; needs neither
    Prefect nor the router.

    Raises:
        Refused: there is no such workload or generation.
        BadInput: the file cannot be written, or is not a page of ours.
    """
    return save_report(collect_facts(ledger, workload, generation), to)


def save_report(facts: Facts, to: Path | None = None, *, force: bool = False) -> Path:
    """Write a report and return its file: ``to``, else ``reports/`` under the home folder.

    Raises:
        BadInput: the file cannot be written, or is not a page of ours.
    """
    return save_page(render(facts), to, default_file(facts), force=force)


def save_validation(
    facts: Facts, to: Path | None = None, *, force: bool = False
) -> tuple[Path, Validation]:
    """Write the page of the newest validation; return its file and what it says.

    Raises:
        Refused: this generation was not validated.
        BadInput: the file cannot be written, or is not a page of ours.
    """
    validation = validation_of(facts)
    if validation is None:
        raise Refused(
            f"generation {facts.generation} of {facts.workload} was not validated yet.",
            kept="everything; no page was written.",
            remedy=f"qafila run benchmark-validation {facts.workload}",
        )
    page = render_validation(facts, validation)
    return save_page(page, to, default_file(facts, "-validation"), force=force), validation


def default_file(facts: Facts, about: str = "") -> Path:
    """Return where a page goes by itself; an older generation does not replace the newest."""
    newest = facts.generations[-1][0]
    suffix = "" if facts.generation == newest else f"-g{facts.generation}"
    return home() / "reports" / f"{facts.workload}{suffix}{about}.html"


def collect_facts(ledger: Connection, workload: str, generation: int | None = None) -> Facts:
    """Return what the ledger says about one generation now, the newest by default.

    Raises:
        Refused: there is no such workload or generation.
    """
    read_workload(ledger, workload)  # refuses an unknown name, naming those that are known
    with ledger.transaction():
        chain = _chain(ledger)  # first: it holds the chain's head, so that the rows below agree
        generations = _generations(ledger, workload)
        about = _choose(workload, generations, generation)
        return _collect(ledger, about, generations, chain)


def _collect(
    ledger: Connection, about: Generation, generations: list[Generation], chain: ChainState
) -> Facts:
    key = {"workload": about.workload, "generation": about.number, "most": MOST_ROWS}
    spec = _rows(ledger, "spec_at", {**key, "revision": about.revision})[0]["spec"]
    with ledger.cursor(row_factory=class_row(EvidenceRow)) as cursor:
        evidence = tuple(cursor.execute(statement("report", "evidence_for"), key))
    approvals = tuple(
        _as_counted(ledger, row.pop("id"), row) for row in _rows(ledger, "approvals_of", key)
    )
    certificates = [
        {name: value for name, value in row.items() if name not in ("workload", "generation")}
        for row in counted(ledger, _rows(ledger, "certificates_of", key))
    ]
    whole = _rows(ledger, "count_evidence_for", key)[0]["count"]
    kinds = {row.kind: row for row in evidence if row.generation == about.number}
    audit = kinds["audit"].body.get("audit_id") if "audit" in kinds else None
    return Facts(
        workload=about.workload,
        spec=spec,
        revision=about.revision,
        generation=about.number,
        fingerprint=about.fingerprint,
        phase=about.phase,
        phase_since=about.phase_since,
        next_step=next_step(
            Phase(about.phase),
            preflight_passed="preflight" in kinds and kinds["preflight"].holds,
        ),
        generations=tuple((g.number, g.phase) for g in generations),
        evidence=evidence,
        left_off=whole - len(evidence),
        approvals=approvals,
        certificates=tuple(certificates),
        outcomes=tuple(_rows(ledger, "outcomes_of", {"audit_id": audit})),
        rollout=newest_rollout(ledger, about.workload, about.number, chain),
        chain=chain,
        made_at=datetime.now(UTC),
    )


def _as_counted(ledger: Connection, approval_id: str, row: dict[str, Any]) -> ApprovalRow:
    """Return a question for the page, with the state that its evidence confirms."""
    counts = read_approval(ledger, approval_id)
    return ApprovalRow(
        **{
            **row,
            "state": counts.state,
            "decided_by": counts.decided_by,
            "notes": counts.notes,
            "decided_at": counts.decided_at,
        }
    )


def _choose(workload: str, generations: list[Generation], number: int | None) -> Generation:
    if not generations:
        raise Refused(
            f"{workload} has no generation yet, so there is nothing to report.",
            remedy=f"qafila run migrate-workload {workload}",
        )
    if number is None:
        return generations[-1]
    for generation in generations:
        if generation.number == number:
            return generation
    known = ", ".join(str(g.number) for g in generations)
    raise Refused(
        f"{workload} has no generation {number}; it has: {known}.",
        remedy=f"qafila report {workload} --generation {generations[-1].number}",
    )


def _generations(ledger: Connection, workload: str) -> list[Generation]:
    with ledger.cursor(row_factory=class_row(Generation)) as cursor:
        return cursor.execute(
            statement("report", "generations_of"), {"workload": workload}
        ).fetchall()


def _chain(ledger: Connection) -> ChainState:
    check = check_chain(ledger)
    head = _rows(ledger, "evidence_head", {})[0]
    return ChainState(check.rows, check.problems, head["number"], head["digest"])


def _rows(ledger: Connection, name: str, key: dict[str, Any]) -> list[dict[str, Any]]:
    with ledger.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement("report", name), key).fetchall()
