"""qafila lock-in: where code depends on one provider, and what leaving it takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qafila.cli import screen
from qafila.cli.screen import AsJson

if TYPE_CHECKING:
    from qafila.audit.code_scan.model import Hit, LockIn


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("lock-in")(lock_in)


def lock_in(
    paths: Annotated[
        list[Path], typer.Argument(help="Folders of source code, or single files.", metavar="PATH…")
    ],
    workers: Annotated[
        int | None, typer.Option(help="Processes; none: one for each core.", min=1, max=256)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the provider APIs that code uses: models, vectors, queues, storage, identity.

    Reads Python, JavaScript, TypeScript, Java and Go; runs nothing that it reads, writes nothing,
    and nothing else has to run. Effort S: configuration; M: an adapter; L: meaning or data that
    only this provider has.
    """
    from qafila.audit.code_scan.scan import scan

    found = scan(paths, workers=workers)
    if as_json:
        screen.print_json(found.as_data())
    else:
        _print(found, several=len(paths) > 1)


def _print(found: LockIn, *, several: bool) -> None:
    screen.say(_looked_at(found))
    if not found.hits:
        screen.say("No provider's API was found in it.")
        return
    screen.say("")
    screen.print_table(
        ("kind", "provider", "API", "hits", "files", "behind own", "effort", "because"),
        [
            (
                s.kind,
                s.provider,
                ", ".join(s.apis),
                str(s.hits),
                str(s.files),
                str(s.behind),
                s.effort,
                s.reason,
            )
            for s in found.summary
        ],
    )
    screen.say("")
    screen.print_table(
        ("place", "kind", "provider", "API", "form", "effort", "code"),
        [
            (
                f"{f'{h.repository}/' if several else ''}{h.file}:{h.line}:{h.column}",
                h.kind,
                h.provider,
                _operation(h),
                h.site,
                h.effort,
                h.text,
            )
            for h in found.hits
        ],
    )


def _operation(hit: Hit) -> str:
    return " ".join(dict.fromkeys(filter(None, (hit.api, hit.operation))))


def _looked_at(found: LockIn) -> str:
    languages = ", ".join(f"{n} {language}" for language, n in found.languages.items())
    left_out = ", ".join(f"{n} {reason}" for reason, n in found.skipped.items())
    return (
        f"{found.lines:,} lines in {found.files:,} files ({languages})"
        f" · left out: {left_out or 'nothing'}"
    )
