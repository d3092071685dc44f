"""qafila rollback, watchdog: the way back, and who takes it when nobody else can."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qafila.cli import screen
from qafila.cli.screen import AsJson


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(rollback)
    app.command()(watchdog)


def rollback(
    workload: Annotated[str, typer.Argument(help="Name of the workload.")],
    why: Annotated[
        str, typer.Option("--why", help="Kept as evidence.")
    ] = "an operator asked for it",
    card: Annotated[
        Path | None,
        typer.Option("--card", help="Go back by this rollback card, and ask no ledger."),
    ] = None,
    accept_digest: Annotated[
        str | None,
        typer.Option(
            "--accept-digest",
            metavar="SHA256",
            help="With --card: take a card that is not sealed with this home's key, by its digest.",
        ),
    ] = None,
    wait_seconds: Annotated[
        float,
        typer.Option(
            "--wait-seconds",
            min=0,
            help="After a promotion: how long live sync may take to bring the old side in step.",
        ),
    ] = 30.0,
    now: Annotated[
        bool, typer.Option("--now", help="Go back also when writes are missing on the old side.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Give the baseline all traffic and put the pointer row back; needs no Prefect server.

    A canary falls at once. A promoted generation that live sync follows is taken back when the one
    before has every write; it is refused when that takes too long, unless --now.

    When the ledger does not answer, the rollback card in QAFILA_HOME/cards is taken by itself.
    """
    from qafila.errors import BadInput
    from qafila.rollback.rollback import refuse_if_unproven
    from qafila.rollback.way_back import bring_back

    def tell(line: str) -> None:
        if not as_json:
            screen.complain(line)

    if accept_digest is not None and card is None:
        raise BadInput(
            "--accept-digest names the digest of a card, and no card is given.",
            remedy=f"qafila rollback {workload} --card FILE --accept-digest SHA256",
        )
    outcome = bring_back(
        workload,
        why,
        holder="qafila rollback",
        card=card,
        accepted=accept_digest,
        wait_s=wait_seconds,
        now=now,
        tell=tell,
    )
    if as_json:
        screen.print_json(outcome.body())
    refuse_if_unproven(outcome)  # the error has the sentence
    if not as_json:
        screen.say(
            outcome.sentence if outcome.already else f"{outcome.verdict}  {outcome.sentence}"
        )


def watchdog(
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=1, help="End after so many; none: never.")
    ] = None,
    ledger_down_seconds: Annotated[
        float,
        typer.Option(
            "--ledger-down-seconds",
            min=6,
            help="The ledger silent for so long, go back by the rollback cards of this machine.",
        ),
    ] = 10.0,
) -> None:
    """Watch the leases; a rollout whose holder died goes back to the baseline. Runs until stopped.

    Survives a restart of the ledger; says a line when something changes.
    """
    from qafila.rollback.watchdog import watch

    watch(screen.say, seconds=seconds, once=once, ledger_down_s=ledger_down_seconds)
