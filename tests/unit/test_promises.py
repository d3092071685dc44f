"""Each promise in README.md and each defence in SECURITY.md names tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = {
    name
    for path in (ROOT / "tests").rglob("*.py")
    for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
}


def rows(page: str) -> list[str]:
    """Return the rows of tables that name a test."""
    lines = (ROOT / page).read_text().splitlines()
    tables = [line for line in lines if line.startswith("|") and not line.startswith("|---")]
    if page == "README.md":
        start = next(n for n, line in enumerate(tables) if line.startswith("| promise |"))
        end = next(n for n, line in enumerate(tables) if line.startswith("| figure |"))
        return tables[start + 1 : end]
    return [line for line in tables if "shown by" not in line]


CASES = [(page, row) for page in ("README.md", "SECURITY.md") for row in rows(page)]


@pytest.mark.parametrize(("page", "row"), CASES)
def test_a_promise_names_tests_that_exist(page: str, row: str) -> None:
    shown = row.rstrip("| ").rsplit("|", 1)[-1]
    named = re.findall(r"`([^`]+)`", shown)
    assert named, f"{page} names no test for: {row}"
    for name in named:
        if name.startswith("tests/"):
            assert (ROOT / name).is_file(), name
        elif name.startswith("test_"):
            assert name in TESTS, name
        else:
            assert name.startswith("qafila bench "), name
