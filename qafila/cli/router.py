"""qafila router show, adopt, restore: when the router and the ledger say different things."""

from __future__ import annotations

from typing import Annotated

import typer

from qafila.cli import screen
from qafila.cli.screen import AsJson

Name = Annotated[str, typer.Argument(help="Name of the workload.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(
        help="Show whether router and ledger agree about the weights; make them agree.",
        no_args_is_help=True,
    )
    group.command()(show)
    group.command()(adopt)
    group.command()(restore)
    app.add_typer(group, name="router")


def show(workload: Name, as_json: AsJson = False) -> None:
    """Show what ledger, router configuration and router say; exit 4 when two of them differ."""
    from qafila.ledger.ledger import open_ledger, read_workload
    from qafila.rollback.agreement import compare
    from qafila.routers.lookup import router_of

    with open_ledger() as ledger:
        spec, _ = read_workload(ledger, workload)
        router = router_of(ledger, spec)
        try:
            found = compare(ledger, spec, router)
        finally:
            router.close()
    if as_json:
        screen.print_json(found.body())
    else:
        screen.print_table(["place", "says"], [[place, s] for place, s in found.said().items()])
        for problem in found.problems:
            screen.say(f"\n{problem}")
        if found.agrees:
            screen.say(f"\nThey agree about {workload}.")
        else:
            screen.say(
                f'\nNext:  qafila router adopt {workload} --why "…"   the router is right'
                f"\n       qafila router restore {workload}            the ledger is right"
            )
    if not found.agrees:
        raise typer.Exit(4)


def adopt(
    workload: Name,
    why: Annotated[str, typer.Option("--why", help="Who moved the weights, and why; evidence.")],
    as_json: AsJson = False,
) -> None:
    """Take what the router works with as the truth; writes evidence, and nothing to the router."""
    _decide(workload, why, as_json, adopting=True)


def restore(
    workload: Name,
    why: Annotated[str, typer.Option("--why", help="Kept as evidence.")] = "the ledger is right",
    as_json: AsJson = False,
) -> None:
    """Write what the ledger says to the router: weight 0, or 100 where a generation is promoted."""
    _decide(workload, why, as_json, adopting=False)


def _decide(workload: str, why: str, as_json: bool, *, adopting: bool) -> None:
    from qafila.ledger.ledger import open_ledger, read_workload
    from qafila.rollback.agreement import adopt as take_over
    from qafila.rollback.agreement import restore as write_again
    from qafila.routers.lookup import router_of

    with open_ledger() as ledger:
        spec, _ = read_workload(ledger, workload)
        router = router_of(ledger, spec)
        try:
            found = (take_over if adopting else write_again)(ledger, spec, router, why)
        finally:
            router.close()
    if as_json:
        screen.print_json(found.body())
        return
    done = "adopted" if adopting else "restored"
    screen.say(f"{workload}: {done}; the router holds {found.said()['written']}.")
    for problem in found.problems:
        screen.say(problem)
    if not found.agrees:
        raise typer.Exit(4)
