"""qafila up, down, doctor, ui: the embedded stack."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from qafila.cli import screen
from qafila.cli.screen import AsJson
from qafila.errors import BadInput


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(up)
    app.command()(down)
    app.command()(doctor)
    app.command()(ui)


def up(as_json: AsJson = False) -> None:
    """Start whatever of the embedded stack is not running yet, and wait until it is ready."""
    from dataclasses import asdict

    from qafila.cli.registering import digest
    from qafila.stack.up import bring_up

    def tell(line: str) -> None:
        if not as_json:
            screen.say(f"  {line}")

    report = bring_up(digest(), tell)
    if as_json:
        screen.print_json(asdict(report))
        return
    if report.found:
        screen.say(f"  found running: {', '.join(report.found)}")
    screen.say(f"Stack ready in {report.seconds:.1f} s.")
    screen.say(f"Prefect UI  {report.ui_url}   (to sign in: qafila ui)")
    screen.say("Stop it with: qafila down")


def down(
    wipe: Annotated[
        bool, typer.Option("--wipe", help="Delete the data too. There is no undo.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before --wipe.")] = False,
    as_json: AsJson = False,
) -> None:
    """Stop exactly what `up` and the demo started; the data stays unless --wipe."""
    from dataclasses import asdict

    from qafila import settings
    from qafila.stack.down import bring_down

    if wipe and not yes:
        from qafila.stack.home_files import list_home

        home = settings.home()
        listed = list_home(home)
        screen.complain(f"{len(listed.ours)} files that Qafila made would be deleted:")
        for name, files in _by_first_part(home, listed.ours).items():
            screen.complain(f"  {name} ({files} files)" if files > 1 else f"  {name}")
        for foreign in listed.kept:
            screen.complain(f"  kept, not made by Qafila: {foreign}")
        typed = typer.prompt(f"This deletes {home} with ledger and evidence. Type {home.name!r}")
        if typed != home.name:
            raise BadInput(f"{typed!r} is not {home.name!r}.", remedy="qafila down --wipe")
    report = bring_down(wipe=wipe)
    if as_json:
        screen.print_json(asdict(report))
        return
    if report.pieces:
        screen.say(f"Stopped: {', '.join(report.pieces)}.")
    else:
        screen.say("Nothing was running.")
    if report.killed:
        screen.say(f"Killed after waiting: {', '.join(map(str, report.killed))}.")
    for path in report.kept:
        screen.say(f"Kept, not made by Qafila: {path}")
    screen.say("The data was deleted." if report.wiped else f"Data kept in {settings.home()}.")


def _by_first_part(home: Path, files: Sequence[Path]) -> dict[str, int]:
    """Return how many files lie in each entry of the home, by its name."""
    return dict(Counter(file.relative_to(home).parts[0] for file in files))


def doctor(
    as_json: AsJson = False,
    aws_policy: Annotated[
        bool,
        typer.Option("--aws-policy", help="Print the IAM policy that an audit needs, and end."),
    ] = False,
    s3_inventory: Annotated[
        list[str] | None,
        typer.Option(
            "--s3-inventory",
            metavar="BUCKET[/PREFIX]",
            help="With --aws-policy: where S3 Inventory delivers reports, which may then be read. "
            "Can be given several times.",
        ),
    ] = None,
) -> None:
    """Show each piece with version, address and health; exit 4 when one is not well."""
    from dataclasses import asdict

    places = s3_inventory or []
    _check_inventories(places, aws_policy)
    if aws_policy:
        from qafila.audit.collectors import read_only_policy

        screen.print_json(read_only_policy(inventories=places))
        screen.complain(
            "Only where further accounts are read through roles: allow sts:AssumeRole as well, for "
            "the ARNs of those roles alone."
        )
        return

    from qafila.stack.health import examine

    pieces = examine()
    if as_json:
        screen.print_json([asdict(p) for p in pieces])
    else:
        screen.print_table(
            ["piece", "version", "address", "health"],
            [[_tick(p.well) + p.piece, p.version, p.address, p.health] for p in pieces],
        )
        unwell: dict[tuple[str, str], list[str]] = {}
        for piece in pieces:
            if not piece.well:
                unwell.setdefault((piece.health, piece.remedy), []).append(piece.piece)
        for (health, remedy), names in unwell.items():
            screen.say(f"\n{', '.join(names)}: {health}.\nNext:  {remedy}")
    if not all(p.well for p in pieces):
        raise typer.Exit(4)


def ui(as_json: AsJson = False) -> None:
    """Print where the Prefect UI is and what to sign in with: a secret, for your eyes only."""
    from qafila import settings
    from qafila.errors import Unavailable
    from qafila.stack.prefect_access import recorded_login

    section = settings.stack_state().get("prefect")
    if not section:
        raise Unavailable(
            f"no Prefect server was started in {settings.home()}.", remedy="qafila up"
        )
    login = recorded_login()
    password = None if login is None else login.text
    without = "none, it was started by an earlier release; set one: qafila down, then: qafila up"
    if as_json:
        screen.print_json({"ui_url": section["ui_url"], "password": password})
        return
    screen.say(f"Prefect UI  {section['ui_url']}")
    screen.say(f"Password    {password or without}")


def _check_inventories(places: list[str], aws_policy: bool) -> None:
    """Refuse places of inventory reports that would open more than a bucket's prefix.

    Raises:
        BadInput: a place is no bucket with or without a prefix, or no policy is to be printed.
    """
    problems = [
        f"{place!r} is not BUCKET or BUCKET/PREFIX."
        for place in places
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.()'/-]*)?", place)
    ]
    if places and not aws_policy:
        problems.append("--s3-inventory says nothing without --aws-policy.")
    if problems:
        raise BadInput(
            "no policy can be printed:",
            problems,
            remedy="qafila doctor --aws-policy --s3-inventory BUCKET/PREFIX",
        )


def _tick(well: bool) -> str:
    return "✓ " if well else "✗ "
