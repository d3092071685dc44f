"""Set the demo's scene on a running stack, and watch a migration from the outside."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from qafila.ledger import ledger as ledgers
from qafila.workload.phases import Event
from tests.acceptance.conftest import ROOT, Stack

WORKLOAD = "aws-docs-search"
T = TypeVar("T")
_SET_SCENE = """
from qafila.stack.environment import speak_to_stack
speak_to_stack()
from qafila.demo.setting import set_scene
set_scene(print)
"""


def set_scene(stack: Stack) -> None:
    """Corpus, services, router, workload and users, as the demo has them."""
    subprocess.run([sys.executable, "-c", _SET_SCENE], env=stack.env, cwd=ROOT, check=True)


def run_demo(stack: Stack, *more: str) -> tuple[dict[str, Any], str]:
    """Run the demo; return demo.json and what it said."""
    file = stack.home / "demo.json"
    done = stack.cli("demo", "--json", str(file), *more, timeout_s=600)
    return json.loads(file.read_text()), done.stdout


def wait_for(
    what: str, look: Callable[[], T | None], *, within_s: float, every_s: float = 0.05
) -> T:
    """Return the first true value that ``look`` gives."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(every_s)
    raise AssertionError(f"{what}: not within {within_s:.0f} s")


def open_ledger(stack: Stack) -> psycopg.Connection[Any]:
    return ledgers.open_ledger(stack.state["postgres"]["ledger_url"])


def phase_of(ledger: psycopg.Connection[Any]) -> str:
    generation = ledgers.newest_generation(ledger, WORKLOAD)
    return "none" if generation is None else generation.phase


def move(ledger: psycopg.Connection[Any], *events: Event) -> None:
    """Move the newest generation along the table, as a person or an earlier run did."""
    for event in events:
        generation = ledgers.newest_generation(ledger, WORKLOAD)
        assert generation is not None
        ledgers.move_phase(ledger, generation, event)


def last_weight(ledger: psycopg.Connection[Any], since: float) -> int:
    """Return the weight at the newest look after ``since``; 0 before the first."""
    row = ledger.execute(
        "SELECT weight FROM qafila.look WHERE looked_at > to_timestamp(%s)"
        " ORDER BY looked_at DESC LIMIT 1",
        [since],
    ).fetchone()
    return int(row[0]) if row else 0


def access_log(stack: Stack) -> Path:
    return Path(stack.state["envoy"]["directory"]) / "access.jsonl"
