"""Write the reference pages from the code, so that they cannot disagree with it.

    make docs

Each page is computed from what runs: the commands' signatures, the flows' parameter models, the
workload file's model, the blocks, the errors, the phase table and the schema files.
``tests/unit/test_docs.py`` fails while a page on disk is not the one computed here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from docs.reference_pages.commands import Command, cli_page, commands, parameters
from docs.reference_pages.connections import connections_page
from docs.reference_pages.errors import errors_page, our_errors
from docs.reference_pages.flows import Deployment, deployments, flows_page
from docs.reference_pages.ledger import ledger_page
from docs.reference_pages.phases import phases_page
from docs.reference_pages.workload import Leaf, leaves, workload_page

__all__ = [
    "PAGES",
    "REFERENCE",
    "Command",
    "Deployment",
    "Leaf",
    "commands",
    "deployments",
    "leaves",
    "main",
    "our_errors",
    "page",
    "parameters",
]

REFERENCE = Path(__file__).resolve().parent / "reference"
_NOTE = "<!-- written by docs/generate_reference.py from the code; run `make docs` -->"

PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli_page,
    "flows.md": flows_page,
    "workload-file.md": workload_page,
    "connections.md": connections_page,
    "exit-codes-and-errors.md": errors_page,
    "phases.md": phases_page,
    "ledger.md": ledger_page,
}


def page(name: str) -> str:
    """Return one page as it should stand on disk."""
    title, _, rest = PAGES[name]().partition("\n")
    return f"{title}\n\n{_NOTE}\n{rest.rstrip()}\n"


def main() -> None:
    """Write every page that is not current."""
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name in PAGES:
        text, file = page(name), REFERENCE / name
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
