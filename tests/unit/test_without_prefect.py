"""What is started often, or asked while Prefect is down, does not import it."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module",
    [
        "qafila.cli.__main__",
        "qafila.backfill.process",
        "qafila.rollout.status",
        "qafila.rollback.watchdog",
        "qafila.rollback.rollback",
        "qafila.rollback.rollback_by_card",
    ],
)
def test_it_is_not_imported(module: str) -> None:
    """It takes more than a second of processor time, and 80 MB."""
    looked = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; print('prefect' in sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert looked.stdout == "False\n"


def test_a_loading_process_imports_no_http_client() -> None:
    """A load starts one for each worker; half a second of imports counts."""
    looked = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, qafila.backfill.process; print('httpx' in sys.modules)",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    assert looked.stdout == "False\n"
