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
    to: Annotated[
        Path | None,
        typer.Option(
            help="File; empty: in the folder reports/ of the home folder, WORKLOAD.html or "
            "WORKLOAD-validation.html."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the report of a migration, or of its validation, as one HTML file, from the ledger."""
    from tasks.ledger import open_ledger
    from tasks.reporting import collect_facts, save_report, save_validation

    with open_ledger() as ledger:
        facts = collect_facts(ledger, workload, generation)
    if validation:
        path, told = save_validation(facts, to)
        sentence, figures = told.sentence, _validation_figures(facts, told)
    else:
        path, figures = save_report(facts, to), _migration_figures(facts)
        sentence = figures["sentence"]
    if as_json:
        screen.print_json({**figures, "file": path})
        return
    screen.say(str(path))
    screen.say(sentence)


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
