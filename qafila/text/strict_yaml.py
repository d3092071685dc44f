"""YAML without surprises: no key twice, no endless nesting, no alias that unfolds without end.

The only place that parses YAML. PyYAML itself keeps the last of two equal keys, recurses as deep
as the text nests, and unfolds merge keys as often as the text asks for.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from math import inf
from typing import Any

import yaml

from qafila.errors import BadInput

DEEPEST = 50  # levels of lists and mappings
MOST_VALUES = 100_000  # once every alias is written out
LONGEST_NUMBER = 400  # characters; reading a number takes the square of its length

_MERGE = "tag:yaml.org,2002:merge"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


@dataclass(frozen=True)
class YamlText:
    """What a YAML text holds: its value, its node (for line numbers), its keys that occur twice."""

    value: Any
    node: yaml.Node | None
    repeated: tuple[str, ...]


def load_yaml(text: str, name: str, *, first_line: int = 1, remedy: str = "") -> Any:
    """Return the value of a YAML text that holds one document.

    ``name``: what the text is called in an error; ``first_line``: its line number there.

    Raises:
        BadInput: it is no YAML, is nested too deep, unfolds to too many values, or has keys that
            occur twice; names each with both lines.
    """
    parsed = parse_yaml(text, name, first_line=first_line, remedy=remedy)
    if parsed.repeated:
        count = len(parsed.repeated)
        keys = "a key that occurs" if count == 1 else f"{count} keys that occur"
        raise BadInput(
            f"{name} has {keys} twice:",
            parsed.repeated,
            remedy=remedy or "keep one of the two entries.",
        )
    return parsed.value


def parse_yaml(text: str, name: str, *, first_line: int = 1, remedy: str = "") -> YamlText:
    """Return what a YAML text holds, with the keys that occur twice, for a caller with more to say.

    Raises:
        BadInput: it is no YAML, is nested too deep, or unfolds to too many values.
    """
    try:
        loader = _Loader(text)
        loader.name = name or loader.name
        try:
            node = loader.get_single_node()
            if node is None:
                return YamlText(None, None, ())
            if _unfolded(node, {}) > MOST_VALUES:
                raise _Excess(f"its aliases unfold to more than {MOST_VALUES} values")
            # before construction, which writes merged keys into the nodes
            repeated = tuple(_repeated(loader, node, "", first_line, set()))
            return YamlText(loader.construct_document(node), node, repeated)
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
        # 30 February is a ValueError, !!bool x a KeyError, !!int x of a list a TypeError
        why = " ".join(str(error).split())
        raise BadInput(f"{name} cannot be read as YAML: {why}", remedy=remedy) from error


class _Excess(yaml.YAMLError):
    """A text that would take more time or memory than any honest one."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with a bound on nesting and on the length of a number."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> Any:
        self._depth += 1
        try:
            if self._depth > DEEPEST:
                line = self.line + 1
                raise _Excess(f"line {line} is nested more than {DEEPEST} levels deep")
            node: Any = super().compose_node(parent, index)
        finally:
            self._depth -= 1
        scalar = isinstance(node, yaml.ScalarNode)
        if scalar and node.tag in _NUMBERS and len(node.value) > LONGEST_NUMBER:
            line = node.start_mark.line + 1
            raise _Excess(f"line {line} has a number of more than {LONGEST_NUMBER} characters")
        return node


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _unfolded(node: yaml.Node, counted: dict[int, float]) -> float:
    """Return how many nodes there are once every alias is written out; what holds itself: inf."""
    if id(node) not in counted:
        counted[id(node)] = inf  # while it is looked into
        counted[id(node)] = 1 + sum(_unfolded(child, counted) for child in _children(node))
    return counted[id(node)]


def _repeated(
    loader: _Loader, node: yaml.Node, path: str, first_line: int, seen: set[int]
) -> Iterator[str]:
    """Yield a sentence for each key that its mapping has already; an aliased node counts once.

    A key that overrides a merged one (``<<``) is no repetition: that is what merging is for.
    """
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for number, child in enumerate(node.value):
            yield from _repeated(loader, child, f"{path}[{number}]", first_line, seen)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[Hashable, int] = {}
        for key, child in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
            inner = f"{path}.{name}" if path else name
            line = key.start_mark.line + first_line
            if isinstance(key, yaml.ScalarNode):
                merge = key.tag == _MERGE
                value = (_MERGE,) if merge else loader.construct_object(key, deep=True)
                if value in lines:
                    yield f"line {line}: {inner} is there already, in line {lines[value]}."
                lines.setdefault(value, line)
            yield from _repeated(loader, child, inner, first_line, seen)
