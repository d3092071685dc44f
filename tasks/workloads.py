"""Read a workload file: every mistake at once, each with its line."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import ValidationError

from qafila.core.masking import places_of_secrets
from qafila.core.mistakes import describe
from qafila.core.workload import Workload
from qafila.errors import BadInput

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

PREFIX = "QAFILA_VAR_"
_VARIABLE = re.compile(r"\$\{(?P<name>[A-Z_][A-Z0-9_]*)(?::-(?P<default>[^}]*))?\}")


def read_file(path: Path) -> Workload:
    """Return the workload that a YAML file describes.

    ``${QAFILA_VAR_NAME}`` and ``${QAFILA_VAR_NAME:-default}`` are taken from the environment, so
    that one file serves several places. No other variable is: a file never gets at a secret.

    Raises:
        BadInput: the file is missing, is no YAML, or has mistakes; names every one with its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{path} cannot be read: {error}", remedy="name an existing workload file."
        ) from error
    missing: list[str] = []  # and variables that no file may name
    text = _VARIABLE.sub(lambda m: _variable(m, text, missing), text)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadInput(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise BadInput(f"{path} holds no workload.", remedy="see workloads/aws-docs-search.yaml")
    try:
        workload = Workload.model_validate(content)
    except ValidationError as error:
        problems = [*_secrets(content, node), *(_sentence(e, node) for e in error.errors())]
        raise BadInput(
            f"{path} has {_count(len(problems) + len(missing))}:",
            [*missing, *problems],
            remedy=f"mend the file, then: qafila apply {path}",
        ) from error
    if missing := [*missing, *_secrets(content, node)]:
        raise BadInput(
            f"{path} has {_count(len(missing))}:",
            missing,
            remedy=f"mend the file, then: qafila apply {path}",
        )
    return workload


def _count(n: int) -> str:
    return "one mistake" if n == 1 else f"{n} mistakes"


def _variable(match: re.Match[str], text: str, missing: list[str]) -> str:
    line = text.count("\n", 0, match.start()) + 1
    if not match["name"].startswith(PREFIX):
        missing.append(
            f"line {line}: the variable {match['name']} is not for workload files; name it "
            f"{PREFIX}{match['name']}, here and where it is set."
        )
        return "unset"
    value = os.environ.get(match["name"], match["default"])
    if value is None:
        missing.append(f"line {line}: the variable {match['name']} is not set and has no default.")
        return "unset"
    return value


def _secrets(content: object, node: yaml.Node | None) -> list[str]:
    """Return a sentence for each address that holds a secret; it does not repeat the address."""
    return [
        f"line {_line_of(node, place.split('.'))}: {place}: a password, token or key has no place "
        "in an address; put it into the secret field of a connection."
        for place in places_of_secrets(content)
    ]


def _sentence(error: ErrorDetails, node: yaml.Node | None) -> str:
    path, told = describe(Workload, error)
    return f"line {_line_of(node, path)}: {told}."


def _line_of(node: yaml.Node | None, path: Sequence[int | str]) -> int:
    """Return the 1-based line of the deepest part of ``path`` that exists."""
    line = 1
    for part in path:
        found: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    line, found = key.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and str(part) in map(str, range(len(node.value))):
            found = node.value[int(part)]
            line = found.start_mark.line + 1
        if found is None:
            break
        node = found
    return line
