"""qafila demo: one real workload crosses, and comes back when it must."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from qafila.cli import screen

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
        bool, typer.Option("--bad-candidate", help="Break the candidate at 25 % on purpose.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write what was measured to this file.")
    ] = None,
) -> None:
    """Move a live search service from keywords to hybrid search, watched by a judge.

    Exits 0 when it ended as it should: promoted, or, with --bad-candidate, rolled back.
    """
    import json
    import time

    from qafila.cli.registering import digest
    from qafila.stack.environment import speak_to_stack
    from qafila.stack.up import bring_up

    begun = time.monotonic()
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
    from tasks.ledger import open_ledger
    from tasks.reporting import write_report

    scene: Scene = set_scene(lambda line: screen.say(f"  {line}"))
    screen.say(
        f"\n  Moving {scene.workload.name}: {scene.corpus.documents} documents, "
        f"{scene.corpus.queries} real queries, traffic {RATE:.0f} requests/s, all through Envoy\n"
    )
    with ScreenStage() as stage:
        story = Story(scene, approve, bad_candidate, stage)
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
    wanted = "rolled_back" if bad_candidate else "promoted"
    if result["outcome"] != wanted:
        raise typer.Exit(1)


def _close(result: dict[str, Any], report: Path) -> None:
    name, traffic = result["workload"], result["traffic"] or {}
    if result["outcome"] == "promoted":
        screen.say("  promoted      the keyword service is kept warm; one word brings it back:")
        screen.say(f"                qafila rollback {name}")
    elif result["outcome"] == "rolled_back":
        screen.say("  rolled back   all users are on the keyword service, as before")
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
