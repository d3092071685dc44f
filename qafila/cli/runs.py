"""qafila run, approve: start a phase, answer a question."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qafila.cli import screen
from qafila.cli.screen import AsJson
from qafila.text.foreign_text import printable

if TYPE_CHECKING:
    from qafila.ledger.approvals import Approval


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(run)
    app.command()(approve)


def run(
    phase: Annotated[str, typer.Argument(help="Flow, for instance embedding-backfill.")],
    workload: Annotated[str, typer.Argument(help="Name of an applied workload.")],
    watch: Annotated[bool, typer.Option("--watch/--no-watch", help="Follow it to its end.")] = True,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="Another field: --set dry_run=true.")
    ] = None,
    replay_dead_letters: Annotated[
        bool, typer.Option("--replay-dead-letters", help="Of embedding-backfill: try them again.")
    ] = False,
    by: Annotated[
        str | None, typer.Option("--by", help="Of canary-cutover: who asks for the rollout.")
    ] = None,
    override: Annotated[
        str | None,
        typer.Option("--override", help="Of canary-cutover: why it goes before a lower workload."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Start one phase of a workload as a run in Prefect, and follow it to its end."""
    request = {"workload": workload, **_settings(setting or [])}
    if replay_dead_letters:
        request["replay_dead_letters"] = True
    if by is not None:
        request["requested_by"] = by
    if override is not None:
        request["override"] = override
    from qafila.stack.environment import speak_to_stack

    ui = speak_to_stack()
    from tasks.starting import follow, start

    started = start(phase, request)
    address = f"{ui}/runs/flow-run/{started}"
    if not as_json:
        screen.say(f"{phase} {workload}: {address}")
    if not watch:
        if as_json:
            screen.print_json({"flow_run_id": str(started), "address": address})
        return
    try:
        with _bar(phase, workload, as_json) as look:
            ended = follow(started, (lambda _: None) if as_json else screen.say, look=look)
    except KeyboardInterrupt:
        screen.complain(f"Not followed any more; the run goes on: {address}")
        screen.complain(f"Next:  qafila status {workload}; to stop the run, cancel it in the UI")
        raise typer.Exit(130) from None
    if as_json:
        screen.print_json(
            {
                "flow_run_id": str(started),
                "address": address,
                "state": ended.state,
                "message": ended.message,
                "exit_code": ended.exit_code,
            }
        )
    elif ended.exit_code:
        screen.complain(ended.message)
        if "\nNext:  " not in ended.message:
            screen.complain(f"Next:  read the run's log: {address}")
    else:
        screen.say(f"{phase} {workload}: done.")
    raise typer.Exit(ended.exit_code)


@contextmanager
def _bar(phase: str, workload: str, as_json: bool) -> Iterator[Callable[[], None]]:
    """Show how far a load is while it runs, on a terminal; elsewhere its log lines say it."""
    console = screen.console()
    if phase != "embedding-backfill" or as_json or not console.is_terminal:
        yield lambda: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    from qafila.backfill.progress import read_progress
    from qafila.ledger.ledger import newest_generation, open_ledger

    shown = Progress(
        TextColumn("  {task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[told]}"),
        console=console,
        transient=True,
    )
    with open_ledger() as ledger, shown:
        bar = shown.add_task("loading", total=1.0, told="")

        def look() -> None:
            generation = newest_generation(ledger, workload)
            if generation is not None:
                now = read_progress(ledger, generation)
                told = f"{now.rows_loaded}/{now.rows_planned} rows"
                if now.cost:
                    told += f" · {now.tokens} tokens · {now.cost:.2f}"
                if now.waits_for:
                    told += f" · waits for {printable(now.waits_for)}"
                shown.update(bar, completed=now.share, told=told)

        yield look


def approve(
    run: Annotated[str, typer.Argument(help="Question, its run, or a workload with one question.")],
    by: Annotated[str, typer.Option("--by", help="Your name; kept as evidence.")],
    reject: Annotated[bool, typer.Option("--reject", help="Say no.")] = False,
    notes: Annotated[str, typer.Option(help="Why; kept as evidence.")] = "",
    as_json: AsJson = False,
) -> None:
    """Answer a question that waits for a person; works without the Prefect server too."""
    from contextlib import suppress
    from dataclasses import asdict

    from qafila.errors import Unavailable
    from qafila.stack.environment import speak_to_stack

    with suppress(Unavailable):  # the ledger has the question; the form is only its view
        speak_to_stack()
    from qafila.ledger.ledger import open_ledger
    from tasks.asking import answer_question

    with open_ledger() as ledger:
        question = _find_question(ledger, run)
        answered = answer_question(
            ledger, question, "reject" if reject else "approve", by=by, notes=notes
        )
    if as_json:
        screen.print_json(asdict(answered))
    elif answered.state == "pending":
        _so_far(answered)
    else:
        screen.say(f"{answered.subject}: {answered.state} by {answered.decided_by}.")


def _so_far(answered: Approval) -> None:
    """Say who approved, and what another person types."""
    more = answered.still_needed
    screen.say(
        f"{answered.subject}: approved by {' and '.join(answered.approved_by)}; "
        f"{more} more {'person is' if more == 1 else 'persons are'} needed."
    )
    screen.say(f"Next:  qafila approve {answered.id} --by NAME")


def _find_question(ledger: Any, run: str) -> str:
    from qafila.errors import Refused
    from qafila.ledger.approvals import pending_approvals, read_approval

    pending: list[Approval] = pending_approvals(ledger)
    fitting = [a for a in pending if run in (a.id, a.approval_run, a.workload)]
    if len(fitting) == 1:
        return fitting[0].id
    if len(fitting) > 1:
        raise Refused(
            f"{run} has {len(fitting)} open questions: {', '.join(a.id for a in fitting)}.",
            remedy="name one of them.",
        )
    return read_approval(ledger, run).id  # answered already: the refusal says by whom


def _settings(pairs: list[str]) -> dict[str, Any]:
    import json

    from qafila.errors import BadInput

    wrong = [p for p in pairs if "=" not in p]
    if wrong:
        raise BadInput("--set takes NAME=VALUE:", [f"{p!r} has no '='" for p in wrong])
    values: dict[str, Any] = {}
    for name, text in (p.split("=", 1) for p in pairs):
        try:
            values[name] = json.loads(text)
        except json.JSONDecodeError:
            values[name] = text
    return values
