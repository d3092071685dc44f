"""qafila evidence: what was measured, as files to keep, and whether anybody changed it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qafila.cli import screen
from qafila.cli.screen import AsJson

if TYPE_CHECKING:
    from qafila.report.bundle_check import BundleCheck

group = typer.Typer(help="Evidence: a chain of rows that shows any later change.")
Named = Annotated[str, typer.Argument(help="Name of the workload.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(group, name="evidence")


@group.command()
def verify(
    bundle: Annotated[
        Path | None,
        typer.Option(help="A bundle, folder or zip, instead of the ledger.", metavar="PATH"),
    ] = None,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Of a bundle: by itself, where there is no ledger."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Walk the chain from its first row, or check a bundle; exit 1 when something was changed.

    The chain is compared with the head that was kept in the home folder at the last rollout,
    settle, clean-up or check; an intact chain's head is kept again. A bundle is checked by its
    manifest and the digests of its rows, then against the ledger's rows and looks, unless
    --offline.
    """
    from qafila.errors import BadInput
    from qafila.ledger.ledger import open_ledger

    if bundle is not None:
        from qafila.report.bundle_check import check_bundle

        if offline:
            _tell_bundle(bundle, check_bundle(bundle, None), as_json)
        else:
            with open_ledger() as ledger:
                found = check_bundle(bundle, ledger)
            _tell_bundle(bundle, found, as_json)
        return
    if offline:
        raise BadInput("--offline is for a bundle.", remedy="qafila evidence verify --bundle PATH")
    from qafila.ledger.evidence import check_chain
    from qafila.ledger.evidence_head import head_path, keep_head, seen_head

    with open_ledger() as ledger:
        check = check_chain(ledger)
        differs = seen_head(ledger) is not None and not check.intact
        kept_in = head_path(ledger)
        if check.intact:
            keep_head(ledger)
    if as_json:
        screen.print_json(
            {"rows": check.rows, "chain_ok": check.intact, "problems": list(check.problems)}
        )
    elif check.intact:
        screen.say(f"{check.rows} rows, chain intact.")
    else:
        screen.say(f"The chain of {check.rows} rows is broken:")
        for number, problem in enumerate(check.problems, 1):
            screen.say(f"  {number}. {problem}")
        if differs:
            screen.say(
                "Where an older copy of the ledger was restored on purpose, and only then:  "
                f"rm {kept_in} && qafila evidence verify"
            )
    if not check.intact:
        raise typer.Exit(1)


def _tell_bundle(path: Path, check: BundleCheck, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        screen.print_json({**asdict(check), "intact": check.intact})
    else:
        by = "as in the ledger" if check.compared else "not compared with a ledger"
        masked = f", {check.masked} with a secret taken out" if check.masked else ""
        screen.say(
            f"{check.rollout}: {check.files} files, {check.rows} rows{masked}, {check.looks} "
            f"looks, {by if check.intact else 'NOT as written'}."
        )
        for number, problem in enumerate(check.problems, 1):
            screen.say(f"  {number}. {problem}")
        screen.say(f"SHA-256 of its manifest: {check.manifest_sha256}")
    if not check.intact:
        raise typer.Exit(1)


@group.command()
def export(
    workload: Named,
    rollout: Annotated[
        str | None, typer.Option(help="Name of a rollout; empty: the newest.", metavar="NAME")
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            help="Folder, or a file that ends in .zip; empty: in the folder evidence/ of the home "
            "folder, named as the rollout.",
            metavar="PATH",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the evidence of one rollout as a bundle: a page, raw looks, answers, rows, a manifest.

    rollout.html tells it on one page; looks.parquet, approvals.json, evidence.jsonl and
    certificate.json are what it was made from; MANIFEST.json has the SHA-256 of each. All rows of a
    workload as lines instead: `qafila evidence rows`.
    """
    from dataclasses import asdict

    from qafila.ledger.ledger import open_ledger
    from qafila.report import rollout_story as story
    from qafila.report.bundle import write_bundle
    from qafila.report.rollout_reader import collect_rollout

    with open_ledger() as ledger:
        facts = collect_rollout(ledger, workload, rollout)
        bundle = write_bundle(ledger, facts, to)
    if as_json:
        screen.print_json(
            {
                **asdict(bundle),
                "verdict": story.verdict(facts),
                "sentence": story.sentence(facts),
                "looks": len(facts.looks),
            }
        )
        return
    screen.say(str(bundle.path))
    screen.say(f"{story.verdict(facts)}  {story.sentence(facts)}")
    screen.say(
        f"{bundle.evidence_rows} rows, {len(facts.looks)} looks; SHA-256 of the manifest, "
        f"to keep elsewhere: {bundle.manifest_sha256}"
    )
    if bundle.masked_rows:
        screen.say(f"{bundle.masked_rows} rows held a secret, which was taken out.")
    screen.say(f"Check it:  qafila evidence verify --bundle {bundle.path}")


@group.command()
def rows(
    workload: Named,
    to: Annotated[Path | None, typer.Option(help="File; empty: standard output.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --to: replace a file that exists.")
    ] = False,
) -> None:
    """Write all evidence of a workload, oldest first, one JSON object a line."""
    import json

    from qafila.ledger.ledger import open_ledger, read_workload
    from qafila.report.bundle import evidence_lines, known_secrets
    from qafila.report.files import save_rows

    with open_ledger() as ledger:
        read_workload(ledger, workload)
        found = evidence_lines(ledger, workload, None, known_secrets(ledger))
    if to is None:
        screen.print_json_lines(found)
        return
    text = "\n".join(json.dumps(row, ensure_ascii=False, default=str) for row in found)
    save_rows(text + "\n", to, force=force)
    screen.say(f"{len(found)} rows written to {to}.")
