"""Flows hold the order of steps; the steps themselves are tasks, in a file of the flow's name."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOWS = sorted(path for path in (ROOT / "flows").glob("*.py") if path.stem != "__init__")


def decorated_by_task(source: str) -> list[str]:
    """Return the names of functions that a decorator ``task`` or ``task(...)`` stands over."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            called = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
            names = [getattr(one, "attr", getattr(one, "id", "")) for one in called]
            if "task" in names:
                found.append(node.name)
    return found


@pytest.mark.parametrize("path", FLOWS, ids=lambda path: path.stem)
def test_a_flow_defines_no_task(path: Path) -> None:
    assert decorated_by_task(path.read_text()) == []


def test_a_task_is_found_however_it_is_written() -> None:
    assert decorated_by_task(
        "@task\ndef a(): ...\n@prefect.task(retries=2)\ndef b(): ...\n@flow\ndef c(): ...\n"
    ) == ["a", "b"]
