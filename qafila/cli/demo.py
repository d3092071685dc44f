"""qafila demo: one real workload crosses, and comes back when it must."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from qafila.cli import screen
from qafila.demo.bad_candidates import GOING, BadCandidate

if TYPE_CHECKING:
    from qafila.demo.setting import Scene


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(demo)


def demo(
    approve: Annotated[
        Literal["auto", "ask"], typer.Option(help="auto answers the questions itself.")
    ] = "auto",
    bad_candidate: Annotated[
        Literal["errors", "slow", "empty", "one-tenant", "killed"] | None,
        typer.Option(
            metavar="errors|slow|empty|one-tenant|killed",
            help="Let the candidate go bad at 25 %, in this way.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write what was measured to this file.")
    ] = None,
) -> None:
    """Move a live search service from keywords to hybrid search, watched by a judge.

    Exits 0 when it ended as it should: promoted, or, with --bad-candidate, rolled back by itself
    for the right reason.
    """
    import json
    import time

    from qafila.cli.registering import digest
    from qafila.stack.environment import speak_to_stack
    from qafila.stack.up import bring_up

    begun = time.monotonic()
    bad = None if bad_candidate is None else BadCandidate(bad_candidate)
    stack = bring_up(digest())
    screen.say(
        f"  stack     {', '.join(stack.started) or 'found running'}      {stack.seconds:.0f} s"
    )
    ui = speak_to_stack()
    screen.say(f"            Prefect UI  {ui}      (leave this running and look)")

    from qafila.cli.stage import ScreenStage
    from qafila.demo.setting import RATE, set_scene, stop_load
    from qafila.demo.story import Story
    from qafila.demo.summary import summarise
    from qafila.ledger.ledger import open_ledger
    from qafila.report.workload_page import write_report

    scene: Scene = set_scene(lambda line: screen.say(f"  {line}"))
    screen.say(
        f"\n  Moving {scene.workload.name}: {scene.corpus.documents} documents, "
        f"{scene.corpus.queries} real queries, traffic {RATE:.0f} requests/s, all through Envoy\n"
    )
    with ScreenStage() as stage:
        story = Story(scene, approve, bad, stage)
        try:
            phase = story.run()
        finally:
            stop_load()
    with open_ledger() as ledger:
        result = summarise(ledger, story, phase)
        report = write_report(ledger, story.workload)
    result["seconds"] = round(time.monotonic() - begun, 1)
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    _close(result, report)
    if not _ended_as_it_should(result, bad):
        raise typer.Exit(1)


def _ended_as_it_should(result: dict[str, Any], bad: BadCandidate | None) -> bool:
    if bad is None:
        return bool(result["outcome"] == "promoted")
    wanted = GOING[bad].reason
    if result["outcome"] == "rolled_back" and result["reason"] != wanted:
        screen.say(f"  but           for {result['reason']!r}, where {wanted!r} was to be found")
    return bool(result["outcome"] == "rolled_back" and result["reason"] == wanted)


def _close(result: dict[str, Any], report: Path) -> None:
    name, traffic = result["workload"], result["traffic"] or {}
    if result["outcome"] == "promoted":
        screen.say("  promoted      the keyword service is kept warm; one word brings it back:")
        screen.say(f"                qafila rollback {name}")
    elif result["outcome"] == "rolled_back":
        ms = result["ms_to_zero"]
        how = "" if ms is None else f" ({result['reason']}; {ms:.0f} ms after the decision)"
        screen.say(f"  rolled back   all users are on the keyword service, as before{how}")
    else:
        screen.say(f"  stopped       look at it with: qafila status {name}")
    screen.say("")
    screen.say(
        f"  users         {traffic.get('requests')} requests, {traffic.get('failed')} failed"
    )
    chain = "intact" if result["evidence"]["chain_ok"] else "BROKEN"
    rows = result["evidence"]["rows"]
    screen.say(f"  evidence      {rows} rows, chain {chain} · report {report}")
    screen.say(f"  took          {result['seconds']:.0f} s")
    screen.say(f"  Prefect UI    {result['prefect_ui']}")
    screen.say("  stop it with  qafila down")
