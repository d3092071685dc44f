"""What benchmarks stand on leaves nothing behind, however it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
CHILD = """
import json, signal, sys, time
from benchmarks.setting import setting

before = signal.getsignal(signal.SIGTERM)
with setting() as here:
    print(json.dumps({"pid": here.server.pid, "folder": str(here.folder)}), flush=True)
    if sys.argv[1] == "wait":
        time.sleep(60)
assert signal.getsignal(signal.SIGTERM) is before
"""


@pytest.mark.parametrize(("how", "code"), [("wait", 128 + signal.SIGTERM), ("end", 0)])
def test_no_server_is_left(how: str, code: int) -> None:
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", CHILD, how], cwd=ROOT, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert child.stdout
    told = json.loads(child.stdout.readline())
    if how == "wait":
        assert psutil.pid_exists(told["pid"])
        child.send_signal(signal.SIGTERM)
    assert child.wait(30) == code
    child.stdout.close()
    assert not _runs(told["pid"])
    assert not Path(told["folder"]).exists()


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
