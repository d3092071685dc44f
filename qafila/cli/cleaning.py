"""qafila settle, clean-up: stay with what was promoted, and delete what nobody needs any more."""

from __future__ import annotations

from typing import Annotated

import typer

from qafila.cli import screen
from qafila.cli.screen import AsJson

Workload = Annotated[str, typer.Argument(help="Name of the workload.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(settle)
    app.command("clean-up")(clean_up)


def settle(
    workload: Workload,
    by: Annotated[str, typer.Option("--by", help="Who decides; kept as evidence.")],
    early: Annotated[
        str | None, typer.Option("--early", help="Why before rollout.hold_hours are over.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Stay with what was promoted, after rollout.hold_hours. A rollback returns no further.

    What served before is no longer kept in step, and clean-up may delete it. Deletes nothing.
    """
    from qafila.ledger.evidence_head import keep_head
    from qafila.ledger.ledger import open_ledger
    from qafila.rollout.clean_up import settle as settle_it

    with open_ledger() as ledger:
        settled = settle_it(ledger, workload, by, early=early)
        keep_head(ledger)
    if as_json:
        told = {"workload": workload, "generation": settled.number, "phase": settled.phase}
        screen.print_json(told)
        return
    screen.say(f"Generation {settled.number} of {workload} is settled.")
    screen.say(f"Next:  qafila clean-up {workload}")


def clean_up(
    workload: Workload,
    yes: Annotated[bool, typer.Option("--yes", help="Delete what is shown.")] = False,
    as_json: AsJson = False,
) -> None:
    """Cannot be undone: drop the tables and columns of ended generations that nobody needs.

    Without --yes it only shows the statements. Never drops what serves, what is on trial, or what
    a rollback would return to before settle.
    """
    from qafila.ledger.evidence_head import keep_head
    from qafila.ledger.ledger import open_ledger
    from qafila.rollout.clean_up import clean_up as clean_it_up
    from qafila.rollout.clean_up import plan_clean_up

    with open_ledger() as ledger:
        plan = plan_clean_up(ledger, workload)
        if not as_json:
            for leftover in plan.leftovers:
                for text in leftover.statements:
                    screen.say(f"g{leftover.generation}  {text}")
            for line in plan.kept:
                screen.say(f"Kept:  {line}")
        if yes and plan.leftovers:
            clean_it_up(ledger, workload, plan)
            keep_head(ledger)
    if as_json:
        screen.print_json({**plan.body(), "deleted": yes and bool(plan.leftovers)})
    elif not plan.leftovers:
        screen.say(f"{workload} has nothing to clean up.")
    elif yes:
        screen.say("Deleted.")
    else:
        screen.say("Nothing was deleted, and this cannot be undone.")
        screen.say(f"Next:  qafila clean-up {workload} --yes")
