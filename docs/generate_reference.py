"""Write the reference pages from the code, so that they cannot disagree with it.

    make docs

Each page is computed from what runs: the commands' signatures, the flows' parameter models, the
workload file's model, the blocks, the errors, the phase table and the schema files.
``tests/unit/test_docs.py`` fails while a page on disk is not the one computed here.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any

import typer
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typer.models import ArgumentInfo, OptionInfo, ParameterInfo

import blocks
import qafila.cli
from qafila import errors
from qafila.core.phases import ENDED, STEP_FROM, TRANSITIONS, Phase
from qafila.core.verdict import EXIT_CODES
from qafila.core.workload import Workload

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
_NOTE = "<!-- written by docs/generate_reference.py from the code; run `make docs` -->"
_METAVARS = {"setting": "NAME=VALUE", "json_file": "FILE", "to": "FILE", "by": "NAME"}
_PATTERNS = {  # what an operator needs to know of them
    r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$": "lower-case words and digits joined by `-`",
    r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$": "`name` or `schema.name`",
    r"^https?://[^\s/]+(/.*)?$": "`http://…` or `https://…`",
    r"^[A-Z]{3}$": "three capitals",
    r"^[A-Z]{2}$": "two capitals",
    r"^/\S*$": "begins with `/`",
}


@dataclass(frozen=True)
class Command:
    """One command as an operator types it, for instance ``evidence verify``."""

    name: str
    callback: Callable[..., Any]


@dataclass(frozen=True)
class Deployment:
    """One entry of prefect.yaml with the flow behind it."""

    name: str
    description: str
    tags: tuple[str, ...]
    schedule: str | None
    switched_on: bool
    docstring: str
    request: type[BaseModel]


# --- what there is -----------------------------------------------------------------------------


def commands(app: typer.Typer = qafila.cli.app, prefix: str = "") -> Iterator[Command]:
    """Yield every command in the order of `qafila --help`."""
    for one in app.registered_commands:
        assert one.callback is not None
        name = one.name or one.callback.__name__.replace("_", "-")
        yield Command(prefix + name, one.callback)
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from commands(group.typer_instance, f"{prefix}{group.name} ")


def parameters(command: Command) -> list[tuple[str, Any, Any, ParameterInfo]]:
    """Return name, type, default and typer's description of each parameter of a command."""
    hints = typing.get_type_hints(command.callback, include_extras=True)
    found = []
    for name, parameter in inspect.signature(command.callback).parameters.items():
        if hints[name] is typer.Context:
            continue  # what comes after the name belongs to somebody else
        kind, info = typing.get_args(hints[name])[:2]
        found.append((name, kind, parameter.default, info))
    return found


def deployments() -> list[Deployment]:
    """Return every deployment of prefect.yaml, in its order."""
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    return [_deployment(entry) for entry in declared]


def _deployment(entry: Mapping[str, Any]) -> Deployment:
    file, function = entry["entrypoint"].split(":")
    flow = getattr(importlib.import_module(file.removesuffix(".py").replace("/", ".")), function)
    request = typing.get_type_hints(flow.fn)["request"]
    schedules = entry.get("schedules", [])
    return Deployment(
        name=entry["name"],
        description=entry["description"],
        tags=tuple(entry["tags"]),
        schedule=f"{schedules[0]['cron']} {schedules[0]['timezone']}" if schedules else None,
        switched_on=bool(schedules) and schedules[0].get("active", True),
        docstring=inspect.getdoc(flow.fn) or "",
        request=request,
    )


def our_errors() -> list[type[errors.QafilaError]]:
    """Return every error that Qafila raises on purpose, in the order of its file."""
    return [
        e for e in vars(errors).values()
        if inspect.isclass(e) and issubclass(e, errors.QafilaError)
    ]  # fmt: skip


@dataclass(frozen=True)
class Table:
    """One table of a schema file: its comment, and each column's definition."""

    name: str
    comment: str
    columns: tuple[tuple[str, str], ...]
    constraints: tuple[str, ...]


def tables(schema: str) -> list[Table]:
    """Return the tables that the numbered files of a schema make."""
    found = []
    for file in sorted((ROOT / "qafila" / "sql" / schema).glob("*.sql")):
        pattern = re.compile(
            r"((?:^--[^\n]*\n)*)^CREATE TABLE (?:IF NOT EXISTS )?([\w.]+) \(\n(.*?)^\);",
            re.MULTILINE | re.DOTALL,
        )
        for comment, name, body in pattern.findall(file.read_text()):
            words = " ".join(line.removeprefix("--").strip() for line in comment.splitlines())
            columns, constraints = [], []
            for part in _parts(body):
                first, _, rest = part.partition(" ")
                if first.isupper():
                    constraints.append(part)
                else:
                    columns.append((first, rest))
            found.append(Table(name, words, tuple(columns), tuple(constraints)))
    return found


def _parts(body: str) -> Iterator[str]:
    """Yield the comma-separated parts of a CREATE TABLE, whatever brackets hold."""
    depth, part = 0, ""
    for letter in body:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            yield " ".join(part.split())
            part = ""
        else:
            part += letter
    yield " ".join(part.split())


@dataclass(frozen=True)
class Leaf:
    """One field of the workload file; ``default`` is what holds when nothing is written."""

    name: str
    model: type[BaseModel]
    field: FieldInfo
    default: Any

    @property
    def last(self) -> str:
        return self.name.rsplit(".", 1)[-1]


def leaves(model: type[BaseModel], prefix: str = "", default: Any = None) -> Iterator[Leaf]:
    """Yield every leaf of a model with its dotted name; a union's members in turn."""
    for name, field in model.model_fields.items():
        value = field.get_default() if default is None else getattr(default, name)
        inner = _models_in(field.annotation)
        if not inner:
            yield Leaf(prefix + (field.alias or name), model, field, value)
        for one in inner:
            several = f"[{_kind(one)}]" if len(inner) > 1 else ""
            known = value if isinstance(value, one) else None
            yield from leaves(one, f"{prefix}{name}{several}.", known)


def _kind(model: type[BaseModel]) -> str:
    """Return the value of ``kind`` that chooses this member of a union."""
    return str(typing.get_args(model.model_fields["kind"].annotation)[0])


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, UnionType, list):
        return [m for a in typing.get_args(annotation) for m in _models_in(a)]
    return []


# --- how it is written -------------------------------------------------------------------------


def described(model: type[BaseModel], name: str) -> tuple[str, str]:
    """Return type and bounds of a field in words, from its JSON schema."""
    schema = model.model_json_schema()
    return _type_of(_resolved(schema["properties"][name], schema)), _bounds(
        schema["properties"][name]
    )


def _resolved(part: Mapping[str, Any], whole: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" in part:
        return dict(whole["$defs"][part["$ref"].rsplit("/", 1)[-1]])
    return dict(part)


def _type_of(part: Mapping[str, Any]) -> str:
    if "const" in part:
        return f"`{part['const']}`"
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    if "anyOf" in part:
        return " or ".join(_type_of(p) for p in part["anyOf"] if p.get("type") != "null")
    if part.get("type") == "array":
        return f"list of {_type_of(part['items'])}"
    names = {"integer": "whole number", "string": "text", "boolean": "yes or no"}
    return names.get(part.get("type", ""), str(part.get("type", "any")))


def _bounds(part: Mapping[str, Any]) -> str:
    part = {**part, **next((p for p in part.get("anyOf", []) if p.get("type") != "null"), {})}
    if "items" in part and "minimum" in part["items"]:
        return f"each {_bounds(part['items'])}"
    low = part.get("minimum", part.get("exclusiveMinimum"))
    high = part.get("maximum")
    words = []
    if low is not None and high is not None:
        words.append(
            f"{'over ' if 'exclusiveMinimum' in part else ''}{_number(low)} … {_number(high)}"
        )
    elif low is not None:
        words.append(
            f"over {_number(low)}" if "exclusiveMinimum" in part else f"at least {_number(low)}"
        )
    if "minItems" in part:
        words.append(f"at least {part['minItems']}")
    if "minLength" in part:
        words.append(f"at least {part['minLength']} letters")
    if "maxLength" in part:
        words.append(f"at most {part['maxLength']} letters")
    pattern = part.get("pattern") or part.get("items", {}).get("pattern")
    if pattern:
        words.append(_PATTERNS.get(pattern, f"`{pattern}`"))
    return _cell("; ".join(words))


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "**needed**"
    if value is None or value == "":
        return "empty"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _grid(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cli_page() -> str:
    """Return docs/reference/cli.md."""
    parts = [
        "# Commands",
        "",
        "`qafila COMMAND --help` says the same. Results go to standard output, refusals to "
        "standard error; the exit codes are [explained here](exit-codes-and-errors.md).",
    ]
    for command in commands():
        parts += ["", f"## qafila {command.name}", "", inspect.getdoc(command.callback) or ""]
        rows, usage = [], [f"qafila {command.name}"]
        for name, kind, default, info in parameters(command):
            shown, use, word = _parameter(name, kind, default, info)
            usage.append(use)
            rows.append([shown, word, _cell(info.help or "")])
        parts += ["", "```console", "$ " + " ".join(usage), "```"]
        if rows:
            parts += ["", _grid(["argument or option", "default", "meaning"], rows)]
    return "\n".join(parts)


def _parameter(name: str, kind: Any, default: Any, info: ParameterInfo) -> tuple[str, str, str]:
    """Return how a parameter is shown, how it is used, and its default in words."""
    needed = default is inspect.Parameter.empty
    if isinstance(info, ArgumentInfo):
        upper = name.upper()
        return f"`{upper}`", upper if needed else f"[{upper}]", "needed" if needed else "none"
    assert isinstance(info, OptionInfo)
    flag = kind is bool
    declared = [str(d) for d in (info.default, *(info.param_decls or ())) if _is_option(d)]
    option = declared[0] if declared else f"--{name.replace('_', '-')}"
    choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
    value = "" if flag else " " + ("|".join(choices) if choices else _metavar(name, info))
    use = f"{option}{value}" if needed else f"[{option}{value}]"
    if needed:
        word = "needed"
    elif flag:
        word = "on" if default else "off"
    else:
        word = f"`{default}`" if default not in (None, "") else "none"
    return f"`{_cell(option + value)}`", use, word


def _is_option(declared: Any) -> bool:
    """Say whether typer was given an option's name; in Annotated it may stand as the default."""
    return isinstance(declared, str) and declared.startswith("-")


def _metavar(name: str, info: OptionInfo) -> str:
    return info.metavar or _METAVARS.get(name, name.upper())


def flows_page() -> str:
    """Return docs/reference/flows.md."""
    parts = [
        "# Flows and their parameters",
        "",
        "Every deployment takes one parameter, `request`; the Prefect UI draws its form, "
        "`qafila run FLOW WORKLOAD --set NAME=VALUE` fills the same fields. Unknown fields and "
        "values out of bounds are refused before a run exists.",
    ]
    for one in deployments():
        rows = []
        for name, field in one.request.model_fields.items():
            kind, bounds = described(one.request, name)
            meaning = _cell(field.description or "")
            rows.append([f"`{name}`", kind, _default(field.get_default()), bounds, meaning])
        parts += ["", f"## {one.name}", "", one.docstring, ""]
        if one.schedule:
            when = "Runs by itself" if one.switched_on else "Once its schedule is switched on, runs"
            parts += [f"{when}: `{one.schedule}`.", ""]
        parts += [f"Tags: {', '.join(f'`{t}`' for t in one.tags)}", ""]
        parts += [_grid(["field", "type", "default", "bounds", "meaning"], rows)]
    return "\n".join(parts)


def workload_page() -> str:
    """Return docs/reference/workload-file.md."""
    parts = [
        "# The workload file",
        "",
        "One YAML file describes one service. `qafila apply FILE` checks it and names every "
        "mistake at once, each with its line; unknown fields are mistakes. `${NAME}` and "
        "`${NAME:-default}` are taken from the environment of `qafila apply`. A complete example: "
        "[workloads/aws-docs-search.yaml](../../workloads/aws-docs-search.yaml).",
        "",
        "In the names below, `[pgvector]` and `[qdrant]` mark fields that belong to that "
        "`kind` only.",
    ]
    groups: dict[str, list[list[str]]] = {}
    for leaf in leaves(Workload):
        kind, bounds = described(leaf.model, leaf.last)
        group = leaf.name.split(".")[0] if "." in leaf.name else "the workload itself"
        groups.setdefault(group, []).append(
            [f"`{leaf.name}`", kind, _default(leaf.default), bounds,
             _cell(leaf.field.description or "")]
        )  # fmt: skip
    for group, rows in groups.items():
        parts += ["", f"## {group}", ""]
        about = Workload.model_fields.get(group)
        inner = _models_in(about.annotation) if about else []
        if inner and (text := inspect.getdoc(inner[0])):
            parts += [text, ""]
        parts += [_grid(["field", "type", "default", "bounds", "meaning"], rows)]
    return "\n".join(parts)


def connections_page() -> str:
    """Return docs/reference/connections.md."""
    parts = [
        "# Connections",
        "",
        "A connection is a Prefect block, made in the Prefect UI under *Blocks* and named by the "
        "workload file. `qafila apply` copies its settings, without secrets, into the ledger. A "
        "secret is taken from the variable `QAFILA_SECRET_<NAME>` (upper case, `-` becomes `_`), "
        "or else from the block.",
    ]
    for kind in blocks.ALL:
        rows = []
        for name, field in kind.model_fields.items():
            secret = "SecretStr" in str(field.annotation)
            type_, bounds = described(kind, name)
            default, meaning = _default(field.get_default()), _cell(field.description or "")
            rows.append([f"`{name}`", "secret" if secret else type_, default, bounds, meaning])
        title, slug = kind.get_block_type_name(), kind.get_block_type_slug()
        parts += ["", f"## {title} (`{slug}`)", "", inspect.getdoc(kind) or "", ""]
        parts += [_grid(["setting", "type", "default", "bounds", "meaning"], rows)]
    return "\n".join(parts)


_CODES = {
    0: "it was done, or it holds",
    1: "a verdict or a precondition says no",
    2: "wrong usage or wrong input; nothing was changed",
    3: "too little evidence for yes or no",
    4: "something does not answer, or broke",
}


def errors_page() -> str:
    """Return docs/reference/exit-codes-and-errors.md."""
    codes = sorted({*EXIT_CODES.values(), *(e.exit_code for e in our_errors())})
    verdicts = {code: verdict.value for verdict, code in EXIT_CODES.items()}
    rows = [[f"`{c}`", verdicts.get(c, ""), _CODES[c]] for c in codes]
    parts = [
        "# Exit codes and errors",
        "",
        _grid(["exit code", "verdict", "meaning"], rows),
        "",
        "Every refusal has three parts: what happened, what was kept, what to do next. They go to "
        "standard error; in a run they are also the artifact `next-step`.",
        "",
        "```",
        "Refused: preflight has not passed for generation 1 of aws-docs-search.",
        "Kept:  everything; nothing was loaded.",
        "Next:  qafila run preflight aws-docs-search",
        "```",
        "",
        "`BadInput` numbers every mistake it found, not only the first. A Python traceback is a "
        "fault in Qafila, exits 4, and says so.",
        "",
        _grid(
            ["error", "exit code", "it means"],
            [[f"`{e.__name__}`", f"`{e.exit_code}`",
              _cell((inspect.getdoc(e) or "").split("\n\n")[0].replace("``", "`"))]
             for e in our_errors()],
        ),
    ]  # fmt: skip
    return "\n".join(parts)


def phases_page() -> str:
    """Return docs/reference/phases.md."""
    rows = [[f"`{a}`", event.value, f"`{b}`"] for (a, event), b in TRANSITIONS.items()]
    steps = [
        [f"`{p}`", f"`{STEP_FROM[p]}`" if p in STEP_FROM else "ends here" if p in ENDED else "—"]
        for p in Phase
    ]
    return "\n".join(
        [
            "# Phases",
            "",
            "A phase belongs to one generation of a workload. This table is the only thing that "
            "moves one; whatever is not in it is refused.",
            "",
            _grid(["from", "event", "to"], rows),
            "",
            "Which flow moves a generation on:",
            "",
            _grid(["phase", "next flow"], steps),
            "",
            "`designed` needs a passed `preflight` first. A generation in `canary` is moved by the "
            "run that holds its lease, or taken back. After a phase that ends, the next migration "
            "opens the next generation. No command causes `hold elapsed, approved`, `clean-up "
            "approved` or `cause recorded` yet.",
        ]
    )


def ledger_page() -> str:
    """Return docs/reference/ledger.md."""
    parts = [
        "# The ledger and the target's own tables",
        "",
        "All tables are in the schema `qafila`. Files under `qafila/sql/` are applied in order, "
        "each once, under an advisory lock; an applied file that was edited afterwards is refused. "
        "`qafila.schema_file` remembers name and digest of each.",
        "",
        "Read them with any PostgreSQL client. Do not write to them: phases move by the table of "
        "[phases](phases.md) only, and `evidence` refuses every update and delete.",
    ]
    for schema, title in (
        ("ledger", "In the ledger"),
        ("target", "In the target, beside the data"),
    ):
        parts += ["", f"## {title}"]
        for table in tables(schema):
            parts += ["", f"### {table.name}"]
            comment = re.sub(r"^The ledger: .*?changes\. ?|^Beside the data: .*?changes\. ?", "",
                             table.comment)  # fmt: skip
            if comment:
                parts += ["", comment]
            rows = [[f"`{name}`", f"`{_cell(what)}`"] for name, what in table.columns]
            parts += ["", _grid(["column", "definition"], rows)]
            if table.constraints:
                parts += ["", *(f"- `{_cell(c)}`" for c in table.constraints)]
    parts += [
        "",
        "Besides these, each pgvector generation is a table `qafila.chunk_<workload>_g<number>` "
        "(in Qdrant, a collection of that name, and one more that ends in `_checkpoint`).",
    ]
    return "\n".join(parts)


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
