"""qafila bills: what a bill says, exactly, and what is wrong with it; nothing else has to run."""

from __future__ import annotations

from typing import Annotated

import typer

from qafila.cli import screen
from qafila.cli.screen import AsJson


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(bills)


def bills(
    files: Annotated[
        list[str],
        typer.Argument(
            help="CSV, gzip or Parquet; several are one bill. s3://bucket/key is downloaded.",
            metavar="FILE...",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Add up a bill exactly, currencies apart, and name its defects.

    Reads AWS CUR 1 and 2, FOCUS 1.0 to 1.2, Azure cost details and OCI cost reports. No ledger, no
    Prefect and no account is needed. Exit 0: read; 2: no bill that can be added up.
    """
    from qafila.audit.bills.presentation import as_data, as_lines
    from qafila.audit.bills.read import read_bill

    bill = read_bill(files, details=False)
    if as_json:
        screen.print_json(as_data(bill))
        return
    for label, text in as_lines(bill):
        screen.say(f"  {label:<13}{text}")
