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
