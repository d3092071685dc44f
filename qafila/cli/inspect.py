"""qafila inspect: what is wrong with an index that exists, before anything moves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qafila.cli import screen
from qafila.cli.screen import AsJson

if TYPE_CHECKING:
    from qafila.report.inspection import Inspected

BRIEFLY = 1_000  # rows of each when everything there is gets looked at


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(inspect)


def inspect(
    url: Annotated[
        str | None, typer.Option(help="PostgreSQL: postgresql://user@host/name.", metavar="URL")
    ] = None,
    qdrant: Annotated[
        str | None,
        typer.Option(help="Qdrant: http(s)://host:6333, or a folder of local mode.", metavar="URL"),
    ] = None,
    connection: Annotated[
        str | None, typer.Option(help="Instead: a connection that qafila apply recorded.")
    ] = None,
    table: Annotated[
        str | None, typer.Option(help="Table, may be schema.table; none: all, briefly.")
    ] = None,
    collection: Annotated[
        str | None, typer.Option(help="Collection of Qdrant; none: all, briefly.")
    ] = None,
    vector: Annotated[
        str | None, typer.Option(help="Column or name of the vector; none: every one.")
    ] = None,
    sample: Annotated[
        int, typer.Option(help="Rows to read; fewer there are: all of them.", min=100)
    ] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the sample, where one is drawn.", min=0)] = 7,
    timeout_seconds: Annotated[
        int, typer.Option(help="Longest wait for one statement.", min=1, max=3600)
    ] = 60,
    html: Annotated[
        Path | None, typer.Option(help="Write the findings as one HTML file, too.", metavar="FILE")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --html: replace a file that Qafila did not write.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look at a pgvector table or a Qdrant collection, read-only; nothing else has to run.

    Finds mixed models, unusable vectors, missing texts, unindexed rows, and what a copy would trip
    over. Exit 0: nothing serious; 1: something serious; 2: wrong input; 4: could not look.
    """
    from qafila.errors import BadInput
    from qafila.inspect.layouts import source_yaml
    from qafila.report.files import require_page_place, save_page
    from qafila.report.inspection import Inspected, as_data

    problems = _problems(url, qdrant, connection, table, collection)
    if problems:
        raise BadInput(
            "what should be inspected is not clear:", problems, remedy="qafila inspect --help"
        )
    if html is not None and not html.parent.is_dir():
        raise BadInput(f"there is no folder {html.parent} for --html.", remedy="make it first")
    if html is not None:
        require_page_place(html, force=force)
    name = table or collection
    with _inspector(url, qdrant, connection, name is None, sample, seed, timeout_seconds) as look:
        found, unseen = look.everything() if name is None else (look.one(name, vector), [])
    inspected = [Inspected(i, source_yaml(i.facts, connection or "CONNECTION")) for i in found]
    if html is not None:
        from qafila.report.page import render_inspection

        save_page(render_inspection(inspected), html, html, force=force, option="--html")
    serious = sum(len(i.inspection.serious) for i in inspected)
    if as_json:
        screen.print_json(
            {
                "verdict": "FAIL" if serious else "ERROR" if unseen else "PASS",
                "serious": serious,
                "could_not_look": unseen,
                "inspected": [as_data(i) for i in inspected],
            }
        )
    elif name is None:
        _print_briefly(inspected)
    else:
        for one in inspected:
            _print(one)
    if html is not None and not as_json:
        screen.say(f"Written to {html}.")
    for problem in unseen:
        screen.complain(f"Could not look: {problem}")
    if serious or unseen:
        raise typer.Exit(1 if serious else 4)


def _problems(
    url: str | None,
    qdrant: str | None,
    connection: str | None,
    table: str | None,
    collection: str | None,
) -> list[str]:
    problems = []
    if sum(x is not None for x in (url, qdrant, connection)) != 1:
        problems.append("give one of --url, --qdrant and --connection")
    if table is not None and (collection is not None or qdrant is not None):
        problems.append("--table is for PostgreSQL; in Qdrant name a --collection")
    if collection is not None and url is not None:
        problems.append("--collection is for Qdrant; in PostgreSQL name a --table")
    return problems


@contextmanager
def _inspector(
    url: str | None,
    qdrant: str | None,
    connection: str | None,
    briefly: bool,
    sample: int,
    seed: int,
    timeout_seconds: int,
) -> Iterator[Any]:
    """Open what was asked for; nothing is imported that the other store needs."""
    from qafila.inspect import address as reaching
    from qafila.inspect.inspection import Looking

    if connection is not None:
        from qafila.ledger.ledger import open_ledger

        with open_ledger() as ledger:
            store, settings = reaching.recorded(ledger, connection)
    elif url is not None:
        store, settings = "pgvector", reaching.postgres_of(url)
    else:
        store, settings = "qdrant", reaching.qdrant_of(str(qdrant))
    rows = min(sample, BRIEFLY) if briefly else sample
    with Looking.at(store, settings, rows, seed, timeout_seconds) as looking:
        yield looking


def _print(one: Inspected) -> None:
    from qafila.report.inspection import headings, looked, place, summary, title

    facts = one.facts
    screen.say(f"{title(facts)} · {place(facts)}")
    screen.say(looked(facts))
    screen.say(one.inspection.sentence)
    for severity, findings in headings(one.inspection.findings).items():
        screen.say("")
        screen.say(severity.upper())
        for finding in findings:
            screen.say(f"  {finding.code}: {finding.sentence}")
            if finding.examples:
                screen.say(f"    for example {', '.join(finding.examples)}")
            screen.say(f"    → {finding.remedy}")
    screen.say("")
    screen.say("WHAT IS THERE")
    pairs = summary(facts)
    for label, value in pairs:
        screen.say(f"  {label.ljust(max(len(name) for name, _ in pairs))}  {value}")
    if one.source:
        screen.say("")
        screen.say("TO COPY IT, paste into the workload file (capitals are yours to fill in)")
        for line in one.source.rstrip().splitlines():
            screen.say(f"  {line}")
    screen.say("")


def _print_briefly(inspected: Sequence[Inspected]) -> None:
    if not inspected:
        screen.say("No table or collection with vectors that may be read.")
        return
    rows = []
    for one in inspected:
        facts, found = one.facts, one.inspection.findings
        rows.append(
            (
                facts.name,
                facts.vector or "unnamed",
                f"{facts.rows:,}",
                facts.layout.maker,
                one.inspection.sentence,
                found[0].code if found else "",
            )
        )
    screen.print_table(("name", "vector", "rows", "layout", "verdict", "first"), rows)
    screen.say("")
    option = "--table" if inspected[0].facts.store == "pgvector" else "--collection"
    screen.say(f"At most {BRIEFLY:,} rows of each were read; look closer with {option} NAME.")
