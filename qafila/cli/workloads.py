"""qafila apply, adopt, abandon, bridge: what is meant, and what becomes of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qafila.cli import screen
from qafila.cli.screen import AsJson

if TYPE_CHECKING:
    from qafila.ledger.ledger import Connection
    from qafila.workload.model import Workload


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(apply)
    app.command()(adopt)
    app.command("adopt-target")(adopt_target)
    app.command()(abandon)
    app.command()(bridge)


def apply(
    file: Annotated[Path, typer.Argument(help="Workload file, YAML.")],
    check: Annotated[
        bool, typer.Option("--check", help="Only check the file: no server, no ledger.")
    ] = False,
    credential_host: Annotated[
        list[str] | None,
        typer.Option(
            "--credential-host",
            metavar="PATH=URL",
            help="Let this credential file go to this further host. Repeatable.",
        ),
    ] = None,
    accept_address: Annotated[
        list[str] | None,
        typer.Option(
            "--accept-address",
            metavar="URL",
            help="Requests may be sent to this new address, scheme://host:port. Repeatable.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a workload file and store it as the newest revision; every mistake at once.

    An address that is new to the workload is routed to only after a person accepted it: at a
    terminal the command asks, elsewhere --accept-address says so.

    With --check nothing is stored and nothing needs to run: the exit code is 0 for a file without
    mistakes, else 2.
    """
    from qafila.workload_file import check_file

    if check and as_json:
        _print_check(file)
        return
    workload = check_file(file)  # before anything is touched
    if check:
        screen.say(f"{file} describes the workload {workload.name}; no mistake was found.")
        screen.say(f"Next:  qafila apply {file}")
        return
    from qafila.routers.accepted_addresses import accept_addresses, named_addresses

    accepted = named_addresses(workload, accept_address or ())
    from qafila.stack.environment import speak_to_stack

    speak_to_stack()
    from qafila.endpoints import blocks_of
    from qafila.errors import BadInput
    from qafila.ledger.connections import adopt_block
    from qafila.ledger.ledger import apply_workload, open_ledger
    from qafila.rollback.spool import take_in_at_start
    from qafila.routers.credential_hosts import allow_credential_hosts
    from qafila.routers.lookup import install_routes

    take_in_at_start(screen.complain)
    with open_ledger() as ledger:
        problems = [
            problem
            for name, kind in blocks_of(workload)
            if (problem := adopt_block(ledger, name, kind, tell=screen.complain))
        ]
        if problems:
            raise BadInput(
                f"{file} names connections that are not there:",
                problems,
                remedy=f"create them, then: qafila apply {file}",
            )
        for sentence in allow_credential_hosts(workload, credential_host or ()):
            screen.complain(sentence)
        if not as_json:
            accepted += _ask_about_addresses(ledger, workload, accepted)
        for sentence in accept_addresses(ledger, workload, accepted):
            screen.complain(sentence)
        install_routes(ledger, workload).close()
        revision = apply_workload(ledger, workload)
    if as_json:
        screen.print_json({"workload": workload.name, "revision": revision})
        return
    screen.say(f"{workload.name} is revision {revision}.")
    screen.say(f"Next:  qafila run migrate-workload {workload.name}")


def _ask_about_addresses(
    ledger: Connection, workload: Workload, accepted: Sequence[str]
) -> list[str]:
    """Return the new addresses that the person at the terminal accepts; none without a terminal."""
    from qafila.routers.accepted_addresses import new_addresses

    new = [(arm, url) for arm, url in new_addresses(ledger, workload) if url not in accepted]
    if not new or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return []
    screen.complain(f"New addresses of {workload.name}:")
    for arm, url in new:
        screen.complain(f"  {arm:<9}  {url}")
    if not typer.confirm("May requests be sent there?", err=True):
        return []
    return list(dict.fromkeys(url for _, url in new))


def _print_check(file: Path) -> None:
    from qafila.errors import BadInput
    from qafila.workload_file import check_file

    name, problems = None, []
    try:
        name = check_file(file).name
    except BadInput as error:
        problems = list(error.problems) or [error.what]
    screen.print_json({"file": str(file), "workload": name, "problems": problems})
    if problems:
        raise typer.Exit(BadInput.exit_code)


def adopt(
    workload: Annotated[str, typer.Argument(help="Name of a workload with target.column.")],
    by: Annotated[str, typer.Option("--by", help="Who knows it; kept as evidence.")],
    as_json: AsJson = False,
) -> None:
    """Say that the application's own column was made by the model that the workload names now.

    Compares a few rows with it. Live sync then feeds the old column too, so that a rollback loses
    no write. Name the new model in the file afterwards, apply it, and migrate.
    """
    from contextlib import suppress

    from qafila.errors import Unavailable
    from qafila.stack.environment import speak_to_stack

    with suppress(Unavailable):  # only for connections with a secret in a block
        speak_to_stack()
    from qafila.backfill.adopt import adopt_column
    from qafila.ledger.ledger import open_ledger

    with open_ledger() as ledger:
        adopted = adopt_column(ledger, workload, by)
    number = adopted.generation.number
    if as_json:
        screen.print_json(
            {
                "workload": workload,
                "generation": number,
                "compared": adopted.compared,
                "likeness": adopted.likeness,
            }
        )
        return
    seen = "no row has a vector yet, so nothing was compared"
    if adopted.likeness is not None:
        seen = f"{adopted.compared} rows compared, cosine {adopted.likeness:.4f} in the median"
    screen.say(f"The column is generation {number} of {workload}; {seen}.")
    screen.say("Next:  name the new model in the file, qafila apply FILE")


def adopt_target(
    workload: Annotated[str, typer.Argument(help="Name of the workload.")],
    by: Annotated[str, typer.Option("--by", help="Who decides; kept as evidence.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Adopt what is shown.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take over what a lost ledger left in the target: this ledger owns it from then on.

    Without --yes it only shows what is there: generations, rows, owners, and what serves. Deletes
    no row. A trial ends; what serves keeps serving. Never while the former ledger is in use: it is
    fenced off.
    """
    from contextlib import suppress

    from qafila.errors import Unavailable
    from qafila.stack.environment import speak_to_stack

    with suppress(Unavailable):  # only for connections with a secret in a block
        speak_to_stack()
    from qafila.backfill.adopt_target import adopt_target as take_over
    from qafila.backfill.adopt_target import look_at_target
    from qafila.ledger.ledger import open_ledger

    with open_ledger() as ledger:
        found = look_at_target(ledger, workload)
        if not as_json:
            for one in found.generations:
                rows = "nothing left" if one.rows is None else f"{one.rows} rows"
                owner = "no owner" if one.owner is None else f"owner {one.owner}"
                ours = " (this ledger)" if one.owner == found.ledger else ""
                role = one.role or "the pointer does not name it"
                becomes = f"; becomes {one.becomes}" if one.becomes else ""
                screen.say(f"g{one.number}  {rows}; {role}; {owner}{ours}{becomes}")
        if yes:
            take_over(ledger, workload, by, found)
    if as_json:
        screen.print_json({**found.body(), "adopted": yes})
    elif yes:
        screen.say(f"This ledger owns {workload} in its target.")
        screen.say(f"Next:  qafila status {workload}")
    elif found.ours:
        screen.say(f"The target holds nothing of {workload} that this ledger does not have.")
    else:
        screen.say("Nothing was changed. Make sure that the ledger named as owner is not in use.")
        screen.say(f"Next:  qafila adopt-target {workload} --by NAME --yes")


def abandon(
    workload: Annotated[str, typer.Argument(help="Name of the workload.")],
    why: Annotated[str, typer.Option("--why", help="Kept as evidence.")],
    as_json: AsJson = False,
) -> None:
    """End a generation that no user has met yet; the next migration opens a new one."""
    from qafila.backfill.abandon import abandon_generation
    from qafila.ledger.ledger import open_ledger

    with open_ledger() as ledger:
        ended = abandon_generation(ledger, workload, why)
    if as_json:
        screen.print_json({"workload": workload, "generation": ended.number, "phase": ended.phase})
        return
    screen.say(f"Generation {ended.number} of {workload} is abandoned; its rows are kept.")
    screen.say(f"Next:  qafila run migrate-workload {workload}")


def bridge(
    workload: Annotated[str, typer.Argument(help="Name of a workload with corpus.bridge.")],
    as_json: AsJson = False,
) -> None:
    """Fit the map of a bridge on a sample, and keep it for the next generation.

    Embeds bridge.calibration_texts texts with the new model. Run it before the audit opens the
    generation.
    """
    from contextlib import suppress
    from dataclasses import asdict

    from qafila.errors import Unavailable
    from qafila.stack.environment import speak_to_stack

    with suppress(Unavailable):  # only for connections with a secret in a block
        speak_to_stack()
    from qafila.backfill.bridge import fit_bridge
    from qafila.ledger.ledger import open_ledger, read_workload

    with open_ledger() as ledger:
        spec, _ = read_workload(ledger, workload)
        digest, quality = fit_bridge(ledger, spec)
    if as_json:
        screen.print_json({"workload": workload, "map": digest, "quality": asdict(quality)})
        return
    screen.say(f"{workload}: map {digest}. {quality.sentence()}")
    screen.say(f"Next:  qafila run migrate-workload {workload}")
