"""One whole stack, started as an operator starts it, stopped at the end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import httpx
import pytest

from qafila.stack.prefect_access import ask

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Stack:
    """A started stack: its home, the environment that reaches it, and its command line."""

    home: Path
    env: dict[str, str]

    @property
    def state(self) -> dict[str, Any]:
        """What stack.json says now."""
        state: dict[str, Any] = json.loads((self.home / "stack.json").read_text())
        return state

    def cli(
        self, *args: str, check: bool = True, timeout_s: float = 300.0, typed: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of `qafila`; with ``check``, a non-zero exit fails the test.

        ``typed`` is what it reads from its standard input.
        """
        done = subprocess.run(
            [sys.executable, "-m", "qafila.cli", *args],
            env=self.env,
            cwd=ROOT,
            text=True,
            input=typed,
            capture_output=True,
            timeout=timeout_s,
        )
        if check and done.returncode != 0:
            said = f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
            pytest.fail(f"qafila {' '.join(args)}: {said}")
        return done

    def json(self, *args: str) -> Any:
        """Run a command with ``--json`` and return what it printed."""
        return json.loads(self.cli(*args, "--json").stdout)

    def ask_prefect(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> httpx.Response:
        """Ask the API of this stack's Prefect server, with the password of this home."""
        with patch.dict(os.environ, {"QAFILA_HOME": str(self.home)}):
            return ask(self.state["prefect"]["api_url"], method, path, body, timeout_s=30)


def new_stack() -> Stack:
    """Return a stack that is not started yet, in a folder of its own, on ports of its own."""
    home = Path(tempfile.mkdtemp(prefix="qafila-stack-"))
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("QAFILA_", "PREFECT_"))}
    return Stack(home, {**kept, "QAFILA_HOME": str(home), "DO_NOT_TRACK": "1"})


def _scope(fixture_name: str, config: pytest.Config) -> Literal["session", "module"]:
    """Beside other tests, a stack and its demo's users cost a third of a core while they stand."""
    return "module" if hasattr(config, "workerinput") else "session"


@pytest.fixture(scope=_scope)
def stack() -> Iterator[Stack]:
    """A running stack; whatever a test starts through it is stopped with it.

    One for all files where they run one after the other; one a file where others run beside it.
    """
    fresh = new_stack()
    try:
        fresh.cli("up")
        yield fresh
    finally:
        fresh.cli("down", check=False)
        shutil.rmtree(fresh.home, ignore_errors=True)
