"""qafila apply, status: what is meant, and where it stands."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qafila.cli import screen
from qafila.cli.screen import AsJson
from qafila.core.phases import Phase

if TYPE_CHECKING:
    from tasks.status import Status


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(apply)
    app.command()(status)
    app.command()(adopt)
    app.command()(abandon)
    app.command()(bridge)


def apply(
    file: Annotated[Path, typer.Argument(help="Workload file, YAML.")],
    as_json: AsJson = False,
) -> None:
    """Check a workload file and store it as the newest revision; every mistake at once."""
    from tasks.workloads import read_file

    workload = read_file(file)  # before anything is touched
    from qafila.stack.environment import speak_to_stack

    speak_to_stack()
    from qafila.errors import BadInput
    from tasks.connections import adopt_block
    from tasks.edges import install_routes
    from tasks.ledger import apply_workload, open_ledger
    from tasks.opening import blocks_of

    with open_ledger() as ledger:
        problems = [
            p for name, kind in blocks_of(workload) if (p := adopt_block(ledger, name, kind))
        ]
        if problems:
            raise BadInput(
                f"{file} names connections that are not there:",
                problems,
                remedy=f"create them, then: qafila apply {file}",
            )
        install_routes(ledger, workload).close()
        revision = apply_workload(ledger, workload)
    if as_json:
        screen.print_json({"workload": workload.name, "revision": revision})
        return
    screen.say(f"{workload.name} is revision {revision}.")
    screen.say(f"Next:  qafila run migrate-workload {workload.name}")


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
    from tasks.adopting import adopt_column
    from tasks.ledger import open_ledger

    with open_ledger() as ledger:
        adopted = adopt_column(ledger, workload, by)
    number = adopted.generation.number
    if as_json:
        screen.print_json({"workload": workload, "generation": number,
                           "compared": adopted.compared, "likeness": adopted.likeness})  # fmt: skip
        return
    seen = "no row has a vector yet, so nothing was compared"
    if adopted.likeness is not None:
        seen = f"{adopted.compared} rows compared, cosine {adopted.likeness:.4f} in the median"
    screen.say(f"The column is generation {number} of {workload}; {seen}.")
    screen.say("Next:  name the new model in the file, qafila apply FILE")


def abandon(
    workload: Annotated[str, typer.Argument(help="Name of the workload.")],
    why: Annotated[str, typer.Option("--why", help="Kept as evidence.")],
    as_json: AsJson = False,
) -> None:
    """End a generation that no user has met yet; the next migration opens a new one."""
    from tasks.abandoning import abandon_generation
    from tasks.ledger import open_ledger

    with open_ledger() as ledger:
        ended = abandon_generation(ledger, workload, why)
    if as_json:
        screen.print_json({"workload": workload, "generation": ended.number, "phase": ended.phase})
        return
    screen.say(f"Generation {ended.number} of {workload} is abandoned; its rows are kept.")
    screen.say(f"Next:  qafila run migrate-workload {workload}")


def status(
    workload: Annotated[str | None, typer.Argument(help="Name; empty: all workloads.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show where a workload stands, what it waits for, and how to get back."""
    from dataclasses import asdict

    from tasks.ledger import list_workloads, open_ledger
    from tasks.status import read_status

    with open_ledger() as ledger:
        names = [workload] if workload else list_workloads(ledger)
        found = [read_status(ledger, name) for name in names]
    if as_json:
        rows = [asdict(s) for s in found]
        screen.print_json(rows[0] if workload else rows)
        return
    if not found:
        screen.say("No workload yet.  Next:  qafila apply workloads/aws-docs-search.yaml")
    for one in found:
        for label, text in lines_of(one, datetime.now(UTC)):
            screen.say(f"  {label:<20} {text}")


def lines_of(status: Status, now: datetime) -> list[tuple[str, str]]:
    """Return label and text of each line about one workload."""
    generation = status.generation
    phase = "not begun" if generation is None else generation.phase
    number = "" if generation is None else f" g{generation.number}"
    share = status.candidate_percent
    weight = f"router: {status.router_problem}" if share is None else f"candidate gets {share} %"
    lines = [
        (
            status.workload,
            f"{phase}{number}, {weight} · {status.criticality} criticality · owner {status.owner}",
        )
    ]
    for question in status.waits_for:
        minutes = max(0, (question.expires_at - now).total_seconds() / 60)
        lines.append(
            (
                "waits for you",
                f"{question.subject}, lapses in {minutes:.0f} min     "
                f"qafila approve {question.id} --by NAME",
            )
        )
    on_trial = generation is not None and generation.phase == Phase.CANARY
    if status.last_look is not None and on_trial:
        look = status.last_look
        lines.append((f"since {look['looked_at']:%H:%M}", f"{look['verdict']}: {look['sentence']}"))
    elif status.latest is not None:
        latest = status.latest
        lines.append((f"since {latest.recorded_at:%H:%M}", latest.sentence))
    if status.certificate_until is not None:
        lines.append(
            (
                "if it goes wrong",
                f"rollback drilled: {status.drill_seconds:.2f} s · certificate until "
                f"{status.certificate_until:%d %b %H:%M} UTC · qafila rollback {status.workload}",
            )
        )
    if status.lease is not None:
        age = status.lease.age_seconds or 0.0
        lines.append(("lease", f"{status.lease.holder}, alive {age:.1f} s ago"))
    if status.next_step is not None:
        lines.append(("next", f"qafila run {status.next_step} {status.workload}"))
    return lines


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
    from tasks.bridging import fit_bridge
    from tasks.ledger import open_ledger, read_workload

    with open_ledger() as ledger:
        spec, _ = read_workload(ledger, workload)
        digest, quality = fit_bridge(ledger, spec)
    if as_json:
        screen.print_json({"workload": workload, "map": digest, "quality": asdict(quality)})
        return
    screen.say(f"{workload}: map {digest}. {quality.sentence()}")
    screen.say(f"Next:  qafila run migrate-workload {workload}")
