"""qafila load: pause, resume, cancel or slow down a backfill while it runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from qafila.cli import screen
from qafila.cli.screen import AsJson

Workload = Annotated[str, typer.Argument(help="Name of the workload.")]
By = Annotated[str, typer.Option("--by", help="Your name; stands in the status line.")]
Why = Annotated[str, typer.Option("--why", help="Stands in the status line.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    load = typer.Typer(
        name="load",
        help="Steer a backfill while it runs.",
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    load.command()(pause)
    load.command()(resume)
    load.command()(cancel)
    load.command()(throttle)
    load.command()(show)
    app.add_typer(load, name="load")


def pause(workload: Workload, by: By, why: Why = "", as_json: AsJson = False) -> None:
    """Let every worker finish its batch and wait; claims and checkpoints are kept."""
    _ask(workload, as_json, state="paused", by=by, reason=why)


def resume(workload: Workload, by: By, why: Why = "", as_json: AsJson = False) -> None:
    """Let a paused load go on, at full speed."""
    _ask(workload, as_json, state="running", speed=1.0, by=by, reason=why)


def cancel(workload: Workload, by: By, why: Why = "", as_json: AsJson = False) -> None:
    """Stop a load at its next batch; what is loaded stays, and starting it again goes on there."""
    _ask(workload, as_json, state="cancelled", by=by, reason=why)


def throttle(
    workload: Workload,
    by: By,
    speed: Annotated[int, typer.Option(min=1, max=100, help="Percent of full speed.")],
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Set how fast a load may go; health of source and target may lower it further."""
    _ask(workload, as_json, speed=speed / 100, by=by, reason=why)


def show(workload: Workload, as_json: AsJson = False) -> None:
    """Print how far a load is, how fast, and what is asked of it."""
    _print(workload, as_json)


def _ask(
    workload: str,
    as_json: bool,
    *,
    state: Literal["running", "paused", "cancelled"] | None = None,
    speed: float | None = None,
    by: str,
    reason: str,
) -> None:
    from qafila.backfill.control import ask_of_load
    from qafila.backfill.patience import PatientLedger
    from qafila.ledger.ledger import Connection, require_generation

    def ask(ledger: Connection) -> None:
        generation = require_generation(ledger, workload)
        ask_of_load(ledger, generation, state=state, speed=speed, by=by, reason=reason)

    with PatientLedger(workload, screen.complain) as patient:  # the load waits for it as well
        patient.ask(ask)
    _print(workload, as_json)


def _print(workload: str, as_json: bool) -> None:
    from dataclasses import asdict

    from qafila.backfill.control import read_load
    from qafila.backfill.progress import read_progress, tell
    from qafila.ledger.ledger import open_ledger, read_workload, require_generation

    with open_ledger() as ledger:
        generation = require_generation(ledger, workload)
        spec, _ = read_workload(ledger, workload)
        load, progress = read_load(ledger, generation), read_progress(ledger, generation)
    if as_json:
        told: dict[str, Any] = {
            "workload": workload,
            "generation": generation.number,
            "load": None if load is None else asdict(load),
            "held": load is not None and load.held,
            "progress": asdict(progress),
        }
        screen.print_json(told)
        return
    state = "not started" if load is None else load.sentence()
    if load is not None and not load.held and load.state == "running":
        state = "loaded" if progress.share == 1.0 else "nobody loads it now"
    screen.say(
        f"{workload} g{generation.number}: {tell(progress, None, state, spec.budget.currency)}"
    )
