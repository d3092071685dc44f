"""The commands as an operator types them, and cli.md."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import typer
from typer.models import ArgumentInfo, OptionInfo, ParameterInfo

import qafila.cli
from docs.reference_pages.markdown import cell, grid

_METAVARS = {"setting": "NAME=VALUE", "json_file": "FILE", "to": "FILE", "by": "NAME"}


@dataclass(frozen=True)
class Command:
    """One command as an operator types it, for instance ``evidence verify``."""

    name: str
    callback: Callable[..., Any]


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
            rows.append([shown, word, cell(info.help or "")])
        parts += ["", "```console", "$ " + " ".join(usage), "```"]
        if rows:
            parts += ["", grid(["argument or option", "default", "meaning"], rows)]
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
    return f"`{cell(option + value)}`", use, word


def _is_option(declared: Any) -> bool:
    """Say whether typer was given an option's name; in Annotated it may stand as the default."""
    return isinstance(declared, str) and declared.startswith("-")


def _metavar(name: str, info: OptionInfo) -> str:
    return info.metavar or _METAVARS.get(name, name.upper())
