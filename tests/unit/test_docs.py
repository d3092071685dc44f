"""The documentation agrees with the code: pages, links, commands, targets and tests it names."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs import generate_reference as reference
from qafila.workload.model import Workload

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
COMMANDS = {c.name for c in reference.commands()}
FLOWS = {d.name for d in reference.deployments()}


def on_disk(name: str) -> str:
    return (reference.REFERENCE / name).read_text(encoding="utf-8")


def place(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("name", list(reference.PAGES))
def test_a_generated_page_is_current(name: str) -> None:
    assert on_disk(name) == reference.page(name), "make docs"


@pytest.mark.parametrize("command", list(reference.commands()), ids=lambda c: c.name)
def test_every_command_and_option_is_explained(command: reference.Command) -> None:
    page = on_disk("cli.md")
    assert f"\n## qafila {command.name}\n" in page
    assert command.callback.__doc__
    for name, _, _, info in reference.parameters(command):
        assert info.help, f"{command.name} {name}"


@pytest.mark.parametrize("deployment", reference.deployments(), ids=lambda d: d.name)
def test_every_flow_and_parameter_is_explained(deployment: reference.Deployment) -> None:
    page = on_disk("flows.md").split(f"\n## {deployment.name}\n")[1].split("\n## ")[0]
    assert deployment.docstring
    for name, field in deployment.request.model_fields.items():
        assert f"| `{name}` |" in page
        assert field.description, name


@pytest.mark.parametrize("leaf", list(reference.leaves(Workload)), ids=lambda leaf: leaf.name)
def test_every_field_of_a_workload_file_is_explained(leaf: reference.Leaf) -> None:
    assert f"| `{leaf.name}` |" in on_disk("workload-file.md")
    assert leaf.field.description, "describe it in qafila/workload/model.py"


def test_every_exit_code_and_error_is_explained() -> None:
    page = on_disk("exit-codes-and-errors.md")
    for error in reference.our_errors():
        assert f"| `{error.__name__}` | `{error.exit_code}` |" in page
        assert error.__doc__
    for code in range(5):
        assert f"\n| `{code}` |" in page


def test_every_table_of_the_schema_files_is_listed() -> None:
    page = on_disk("ledger.md")
    for schema in ("ledger", "target"):
        text = "".join(f.read_text() for f in (ROOT / "qafila/sql" / schema).glob("*.sql"))
        made = re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?([\w.]+)", text)
        assert made
        assert [name for name in made if f"\n### {name}\n" not in page] == []


def links(page: Path) -> Iterator[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"(?<![\[`])`[^`\n]+`(?!\])", "", text)  # code, but not a link's own text
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=place)
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{place(page)} links to {target}"
        if anchor:
            assert anchor in anchors(found), f"{place(page)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=place)
def test_what_a_page_tells_to_type_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    typed = re.findall(r"(?:`|\$ |\n|: )(qafila [a-z][^`\n#]*)", text)
    groups = {name.split()[0] for name in COMMANDS if " " in name}
    for line in typed:
        words = line.split()
        name = " ".join(words[1:3]) if words[1] in groups and len(words) > 2 else words[1]
        assert name in COMMANDS | groups, f"{place(page)}: {line}"
        if name == "run" and len(words) > 2 and words[2].islower():
            assert words[2] in FLOWS, f"{place(page)}: {line}"
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:`|\$ |\n)make ([a-z]+)", text):
        assert re.search(rf"^([a-z]+ )*{target}( [a-z]+)*:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES, ids=place)
def test_a_test_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", page.read_text(encoding="utf-8")))
    sources = "".join(f.read_text() for f in (ROOT / "tests").rglob("test_*.py"))
    assert {name for name in named if f"def {name}(" not in sources} == set()


IMPORTED = re.compile(r"^from ((?:qafila|tasks|flows|blocks)[\w.]*) import (\w+)", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=place)
def test_what_a_page_imports_exists(page: Path) -> None:
    for module, name in IMPORTED.findall(page.read_text(encoding="utf-8")):
        assert hasattr(importlib.import_module(module), name), f"{module} has no {name}"
