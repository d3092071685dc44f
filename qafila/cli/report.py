"""qafila report: what was moved, how it ended, and the proof, as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qafila.cli import screen
from qafila.cli.screen import AsJson


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(report)


def report(
    workload: Annotated[str, typer.Argument(help="Name of the workload.")],
    generation: Annotated[
        int | None, typer.Option(help="Number of the generation; empty: the newest.", min=1)
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="File; empty: reports/WORKLOAD.html in the home folder.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the report of a migration as one HTML file, from the ledger alone."""
    from dataclasses import asdict

    from qafila.report import first_page
    from tasks.ledger import open_ledger
    from tasks.reporting import collect_facts, save_report

    with open_ledger() as ledger:
        facts = collect_facts(ledger, workload, generation)
    path = save_report(facts, to)
    sentence = first_page.sentence(facts)
    if as_json:
        screen.print_json(
            {
                "workload": facts.workload,
                "generation": facts.generation,
                "phase": facts.phase,
                "sentence": sentence,
                "figures": [asdict(figure) for figure in first_page.figures(facts)],
                "unseen": first_page.unseen(facts),
                "approvals": [asdict(approval) for approval in facts.approvals],
                "evidence": {**asdict(facts.chain), "chain_ok": facts.chain.intact},
                "file": path,
            }
        )
        return
    screen.say(str(path))
    screen.say(sentence)
