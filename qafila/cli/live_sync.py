"""qafila live-sync: put the capture of changes into a source, look at it, take it out again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qafila.cli import screen
from qafila.cli.screen import AsJson

if TYPE_CHECKING:
    from qafila.live_sync.status import GenerationSync

Workload = Annotated[str, typer.Argument(help="Name of the workload.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(
        name="live-sync",
        help="Capture what is written to a source.",
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    group.command()(install)
    group.command()(status)
    group.command()(remove)
    app.add_typer(group, name="live-sync")


def install(
    workload: Workload,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print problems and SQL; change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Capture the changes of the workload's table from now on; needs its lock for a moment."""
    from qafila.errors import BadInput
    from qafila.ledger.ledger import open_ledger, read_workload
    from qafila.live_sync.lifecycle import ensure_capture, plan_capture

    with open_ledger() as ledger:
        spec, _ = read_workload(ledger, workload)
        if dry_run:
            problems, script = plan_capture(ledger, spec)
            if as_json:
                screen.print_json({"workload": workload, "problems": problems, "sql": script})
            else:
                screen.say(script)
            if problems:
                raise BadInput(
                    "this could not be installed:",
                    problems,
                    remedy=f"mend these, then: qafila live-sync install {workload}",
                )
            return
        corpus = spec.corpus.model_copy(update={"live_sync": True})
        capture = ensure_capture(ledger, spec.model_copy(update={"corpus": corpus}))
    assert capture is not None
    if as_json:
        told = {"workload": workload, "table": capture.table, "outbox": f"{capture.schema}.outbox"}
        screen.print_json({**told, "asked_for": spec.corpus.live_sync})
        return
    screen.say(f"Changes of {capture.table} go to {capture.schema}.outbox.")
    if not spec.corpus.live_sync:
        screen.say("Next:  set corpus.live_sync to true in the workload file, and apply it")


def status(workload: Workload, as_json: AsJson = False) -> None:
    """Print what is captured, who is fed, how far behind each generation is, and why."""
    from dataclasses import asdict

    from qafila.ledger.ledger import open_ledger, read_workload
    from qafila.live_sync.status import read_live_sync

    with open_ledger() as ledger:
        found = read_live_sync(ledger, read_workload(ledger, workload)[0])
    if as_json:
        screen.print_json(
            {"workload": workload, "installed": False, **asdict(found)}
            if found
            else {"workload": workload, "installed": False}
        )
        return
    if found is None:
        screen.say(f"Live sync of {workload} is not installed.")
        screen.say(f"Next:  qafila live-sync install {workload}")
        return
    state = "; ".join(found.faults) or ("captured" if found.installed else "not captured")
    screen.say(f"{found.table}: {state}; the outbox holds {found.held_changes} changes.")
    for one in found.held_back_by:
        screen.say(f"  nothing behind it can be pruned: {one}")
    for generation in found.generations:
        screen.say(f"  {line_of(generation)}")


def line_of(one: GenerationSync) -> str:
    """Return one line about a generation."""
    state = "waits for its load" if one.life == "kept" else "fed" if one.fed else "not fed"
    told = f"g{one.generation}: {state}"
    if one.lag is not None:
        told += f", {one.lag.changes} changes ({one.lag.seconds:.1f} s) behind"
    if one.fed:
        told += f"; {one.applied_by or 'nobody applies now'}"
    if one.documents:
        told += f"; {one.documents} documents so far, {one.rejected} dead letters"
    return f"{told}; {one.problem}" if one.problem else told


def remove(
    workload: Workload,
    force: Annotated[
        bool, typer.Option("--force", help="Also while a generation is alive: it falls behind.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take trigger, function, outbox and schema out of the source; it is as it was."""
    from qafila.ledger.ledger import open_ledger, read_workload
    from qafila.live_sync.lifecycle import remove_capture

    with open_ledger() as ledger:
        removed = remove_capture(ledger, read_workload(ledger, workload)[0], force=force)
    if as_json:
        screen.print_json({"workload": workload, "removed": removed})
    else:
        screen.say("The source is as it was." if removed else "There was nothing to remove.")
