"""The end of a stack on which stories were played: it leaves nothing that runs.

Whatever else uses the session's stack comes before this.
"""

from __future__ import annotations

import psutil
import pytest

from tests.acceptance.conftest import Stack

pytestmark = pytest.mark.slow


def test_down_leaves_no_process_behind(stack: Stack) -> None:
    before = stack.state
    stack.cli("down")
    mark = before["id"]
    left = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("QAFILA_STACK") == mark:
                left.append(process.cmdline())
        except (psutil.Error, OSError):
            continue
    assert left == []
    assert not psutil.pid_exists(before["postgres"]["pid"])


def test_a_wipe_asks_for_the_name_and_leaves_nothing_of_ours(stack: Stack) -> None:
    asked = stack.home / "demo.json"  # where other tests let the demo write its figures
    asked.unlink(missing_ok=True)
    theirs = stack.home / "theirs.txt"
    theirs.write_text("years of work")
    for typed in ("\n", "yes\n", f"{stack.home}\n", ""):
        refused = stack.cli("down", "--wipe", typed=typed, check=False)
        assert refused.returncode != 0
        assert "postgres (" in refused.stderr
    assert (stack.home / "stack.json").exists()
    done = stack.cli("down", "--wipe", typed=f"{stack.home.name}\n")
    assert f"kept, not made by Qafila: {theirs}" in done.stderr
    assert [p for p in stack.home.rglob("*") if p.is_file()] == [theirs]
    assert [p for p in stack.home.iterdir() if p != theirs] == []
