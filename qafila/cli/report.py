"""qafila report: what was moved, how it ended, and the proof, as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qafila.cli import screen
from qafila.cli.screen import AsJson

if TYPE_CHECKING:
    from qafila.report.facts import Facts
    from qafila.report.validation import Validation


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(report)


def report(
    workload: Annotated[str, typer.Argument(help="Name of the workload.")],
    generation: Annotated[
        int | None, typer.Option(help="Number of the generation; empty: the newest.", min=1)
    ] = None,
    validation: Annotated[
        bool,
        typer.Option(
            "--validation", help="The newest validation alone, rung by rung, with its pictures."
        ),
    ] = False,
    audit: Annotated[
        bool,
        typer.Option(
            "--audit", help="The newest audit: a page to read in a minute, then its tables."
        ),
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option(help="With --audit: a folder for every table as Parquet and CSV too."),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="With --to or --export: replace files that Qafila did not write."
        ),
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(
            help="File; empty: in the folder reports/ of the home folder, WORKLOAD.html, "
            "WORKLOAD-validation.html or WORKLOAD-audit.html."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the report of a migration, of its validation or of an audit as one HTML file.

    All of it comes from the ledger; nothing else has to run.
    """
    if audit or export is not None:
        _refuse_a_mixture(audit, validation, generation)
        _report_audit(workload, to, export, force, as_json)
        return
    from qafila.ledger.ledger import open_ledger
    from qafila.report.workload_page import collect_facts, save_report, save_validation

    with open_ledger() as ledger:
        facts = collect_facts(ledger, workload, generation)
    if validation:
        path, told = save_validation(facts, to, force=force)
        sentence, figures = told.sentence, _validation_figures(facts, told)
    else:
        path, figures = save_report(facts, to, force=force), _migration_figures(facts)
        sentence = figures["sentence"]
    if as_json:
        screen.print_json({**figures, "file": path})
        return
    screen.say(str(path))
    screen.say(sentence)


def _refuse_a_mixture(audit: bool, validation: bool, generation: int | None) -> None:
    from qafila.errors import BadInput

    problems = []
    if not audit:
        problems.append("--export goes with --audit: the tables that it writes are the audit's")
    if validation:
        problems.append("--validation and --audit are two reports")
    if generation is not None:
        problems.append("--generation does not go with --audit: an audit is of the workload")
    if problems:
        raise BadInput("the options do not go together:", problems)


def _report_audit(
    workload: str, to: Path | None, export: Path | None, force: bool, as_json: bool
) -> None:
    from qafila.ledger.ledger import open_ledger
    from qafila.report.audit_export import export_audit, ready_folder, require_own_files
    from qafila.report.audit_reader import audit_facts, save_audit
    from qafila.report.files import require_page_place

    with open_ledger() as ledger:
        facts = audit_facts(ledger, workload)
        if export is not None:
            if not force:
                require_own_files(export)
            ready_folder(export)  # before the page is written
        if to is not None:
            require_page_place(to, force=force)
        path = save_audit(ledger, facts, to, force=force)
    files = [] if export is None else export_audit(facts, export, force=force)
    if as_json:
        screen.print_json(
            {
                "workload": workload,
                "audit_id": facts.audit_id,
                "verdict": facts.verdict,
                "sentence": facts.sentence,
                "evidence_number": facts.evidence_number,
                "rows": {name: len(rows) for name, rows in facts.tables.items()},
                "difference": facts.body.get("difference"),
                "file": path,
                "exported": files,
            }
        )
        return
    screen.say(str(path))
    if export is not None:
        screen.say(f"{export.absolute()}: {len(files)} files")
    screen.say(facts.sentence)


def _migration_figures(facts: Facts) -> dict[str, Any]:
    from dataclasses import asdict

    from qafila.report import first_page

    return {
        "workload": facts.workload,
        "generation": facts.generation,
        "phase": facts.phase,
        "sentence": first_page.sentence(facts),
        "figures": [asdict(figure) for figure in first_page.figures(facts)],
        "unseen": first_page.unseen(facts),
        "approvals": [asdict(approval) for approval in facts.approvals],
        "evidence": {**asdict(facts.chain), "chain_ok": facts.chain.intact},
    }


def _validation_figures(facts: Facts, told: Validation) -> dict[str, Any]:
    rehearsed = told.rehearsed
    return {
        "workload": facts.workload,
        "generation": facts.generation,
        "verdict": told.verdict,
        "sentence": told.sentence,
        "evidence_number": None if told.row is None else told.row.number,
        "rungs": [
            {
                "number": int(line.number) if line.number else None,
                "rung": line.name,
                "verdict": line.verdict,
                "compared": line.compared,
                "on": line.on,
                "found": line.found,
                "smallest_effect": line.smallest_effect,
            }
            for line in told.lines
        ],
        "rehearsal": None
        if rehearsed is None
        else {"verdict": rehearsed.verdict, "sentence": rehearsed.sentence},
    }
