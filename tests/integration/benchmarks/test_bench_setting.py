"""What benchmarks stand on leaves nothing behind, however it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.setting import ready, setting

ROOT = Path(__file__).parents[3]
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
        [sys.executable, "-W", "ignore", "-c", CHILD, how],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout
    told = json.loads(child.stdout.readline())
    if how == "wait":
        assert psutil.pid_exists(told["pid"])
        child.send_signal(signal.SIGTERM)
    assert child.wait(30) == code
    child.stdout.close()
    assert not _runs(told["pid"])
    assert not Path(told["folder"]).exists()


def test_a_benchmark_leaves_the_home_of_its_caller_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path))
    for _ in range(2):  # the second finds nothing that the first accepted
        with setting() as here:
            ready(here)
    assert os.environ["QAFILA_HOME"] == str(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_server_is_left_by_a_test_session_that_is_told_to_end(tmp_path: Path) -> None:
    """A session of its own, over the fixture as it is, with a test that never ends."""
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "conftest.py")
    told = tmp_path / "told"
    (tmp_path / "test_waiting.py").write_text(
        "import pathlib, time\n\n"
        "def test_it_waits(pg_server):\n"
        f"    part = pathlib.Path({str(told)!r} + '.part')\n"
        "    part.write_text(f'{pg_server.pid} {pg_server.uri}')\n"
        f"    part.rename({str(told)!r})\n"
        "    time.sleep(60)\n"
    )
    child = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            tmp_path,
            "-c",
            os.devnull,
            tmp_path,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not told.exists():
            assert time.monotonic() < deadline
            assert child.poll() is None
            time.sleep(0.05)
        pid, uri = told.read_text().split()
        child.send_signal(signal.SIGTERM)
        said, _ = child.communicate(timeout=60)
        assert child.returncode == 128 + signal.SIGTERM, said
        assert not _runs(int(pid))
        assert not Path(uri.partition("host=")[2]).exists()
    finally:
        child.kill()  # where it was not told to end, or did not
        child.communicate()


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
