"""Read a workload file: every mistake at once, each with its line."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import ValidationError

from qafila.errors import BadInput
from qafila.text.masking import places_of_secrets
from qafila.text.mistakes import describe
from qafila.text.strict_yaml import parse_yaml
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.model import Workload
from qafila.workload.router import EnvoyFileRouter

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
    remedy = f"mend the file, then: qafila apply {path}"
    parsed = parse_yaml(text, str(path), remedy=remedy)
    if not isinstance(parsed.value, dict):
        raise BadInput(f"{path} holds no workload.", remedy="see workloads/aws-docs-search.yaml")
    lines = _Lines(parsed.node)
    problems = [*missing, *parsed.repeated, *_secrets(parsed.value, lines)]
    try:
        workload = Workload.model_validate(parsed.value)
    except ValidationError as error:
        problems += [_sentence(e, lines) for e in error.errors()]
        raise _mistakes(path, problems, remedy) from error
    if problems:
        raise _mistakes(path, problems, remedy)
    return workload


def check_file(path: Path) -> Workload:
    """Return the workload that a YAML file describes, once all is said that needs no server.

    Raises:
        BadInput: as ``read_file``; or its router cannot route to an address, or its store cannot
            build the index.
    """
    from qafila.routers.envoy.arms import arms_of, require_arms
    from qafila.stores.pgvector.problems import problems_of_settings

    workload = read_file(path)
    corpus = workload.corpus
    problems: list[str] = []
    if isinstance(workload.service.router, EnvoyFileRouter):
        try:
            require_arms(*arms_of(workload.service))
        except BadInput as error:
            problems += error.problems
    if isinstance(corpus.target, PgvectorTarget) and corpus.target.column is None:
        dimensions = corpus.embedder.dimensions
        problems += [
            f"corpus.target: {p}." for p in problems_of_settings(corpus.target, dimensions)
        ]
    if problems:
        raise _mistakes(path, problems, f"mend the file, then: qafila apply {path}")
    return workload


def _mistakes(path: Path, problems: Sequence[str], remedy: str) -> BadInput:
    return BadInput(f"{path} has {_count(len(problems))}:", problems, remedy=remedy)


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


def _secrets(content: object, lines: _Lines) -> list[str]:
    """Return a sentence for each address that holds a secret; it does not repeat the address."""
    return [
        f"line {lines.line_of(place.split('.'))}: {place}: a password, token or key has no place "
        "in an address; put it into the secret field of a connection."
        for place in places_of_secrets(content)
    ]


def _sentence(error: ErrorDetails, lines: _Lines) -> str:
    path, told = describe(Workload, error)
    return f"line {lines.line_of(path)}: {told}."


class _Lines:
    """Where the keys of a YAML document stand; each mapping is looked through once."""

    def __init__(self, root: yaml.Node | None) -> None:
        self._root = root
        self._parts: dict[int, dict[str, tuple[int, yaml.Node]]] = {}

    def line_of(self, path: Sequence[int | str]) -> int:
        """Return the 1-based line of the deepest part of ``path`` that exists."""
        line, node = 1, self._root
        for part in path:
            if node is None or (found := self._parts_of(node).get(str(part))) is None:
                break
            line, node = found
        return line

    def _parts_of(self, node: yaml.Node) -> dict[str, tuple[int, yaml.Node]]:
        if id(node) not in self._parts:
            parts = {}
            if isinstance(node, yaml.MappingNode):
                parts = {k.value: (k.start_mark.line + 1, v) for k, v in node.value if _plain(k)}
            elif isinstance(node, yaml.SequenceNode):
                parts = {str(n): (v.start_mark.line + 1, v) for n, v in enumerate(node.value)}
            self._parts[id(node)] = parts
        return self._parts[id(node)]


def _plain(key: yaml.Node) -> bool:
    return isinstance(key, yaml.ScalarNode)
