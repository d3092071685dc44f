"""qafila evidence verify, export: what was measured, and whether anybody changed it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qafila.cli import screen
from qafila.cli.screen import AsJson

group = typer.Typer(help="Evidence: a chain of rows that shows any later change.")


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(group, name="evidence")


@group.command()
def verify(as_json: AsJson = False) -> None:
    """Walk the chain from its first row; exit 1 when a row was changed, removed or added."""
    from tasks.evidence import check_chain
    from tasks.ledger import open_ledger

    with open_ledger() as ledger:
        check = check_chain(ledger)
    if as_json:
        screen.print_json(
            {"rows": check.rows, "chain_ok": check.intact, "problems": list(check.problems)}
        )
    elif check.intact:
        screen.say(f"{check.rows} rows, chain intact.")
    else:
        screen.say(f"The chain of {check.rows} rows is broken:")
        for number, problem in enumerate(check.problems, 1):
            screen.say(f"  {number}. {problem}")
    if not check.intact:
        raise typer.Exit(1)


@group.command()
def export(
    workload: Annotated[str, typer.Argument(help="Name of the workload.")],
    to: Annotated[Path | None, typer.Option(help="File; empty: standard output.")] = None,
) -> None:
    """Write a workload's evidence, oldest first, one JSON object a line."""
    import json
    from dataclasses import asdict

    from tasks.evidence import evidence_of
    from tasks.ledger import open_ledger

    with open_ledger() as ledger:
        rows = evidence_of(ledger, workload, limit=1_000_000)
    text = "\n".join(json.dumps(asdict(r), ensure_ascii=False, default=str) for r in reversed(rows))
    if to is None:
        typer.echo(text)
    else:
        to.write_text(text + "\n", encoding="utf-8")
        screen.say(f"{len(rows)} rows written to {to}.")
