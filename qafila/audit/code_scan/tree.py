"""What the readers of all languages share: places, scopes and plain nodes of a syntax tree."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ast_grep_py import SgNode, SgRoot

from qafila.audit.code_scan.facts import Called, Facts, Spot

LONGEST_TEXT = 80
_OF_TYPE = re.compile(r"[A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)*|\[\]|(?<!=)[\[\]<>]")


def spot(node: SgNode) -> Spot:
    """Return where a node starts, counted from 1, and the start of its first line."""
    start = node.range().start
    return Spot(start.line + 1, start.column + 1, node.text().split("\n", 1)[0][:LONGEST_TEXT])


def line(node: SgNode) -> int:
    """Return the line a node starts on, from 1."""
    return node.range().start.line + 1


def field(node: SgNode, *names: str) -> SgNode | None:
    """Return a field of a field … of a node, or None where one is missing."""
    found: SgNode | None = node
    for name in names:
        if found is None:
            return None
        found = found.field(name)
    return found


def named(node: SgNode) -> list[SgNode]:
    """Return the named children that are no comments."""
    return [c for c in node.children() if c.is_named() and "comment" not in c.kind()]


def inner(node: SgNode) -> SgNode | None:
    """Return the only thing inside brackets, an await or a type, or None."""
    return next(iter(named(node)), None)


def names_in_type(text: str, through: frozenset[str]) -> list[str]:
    """Return the names that a value of a type may have: ``X | None`` has X, ``dict[str, X]`` not.

    ``through`` are the generic types whose value is one of their arguments: ``Optional``. Brackets
    may be square or angular; ``X[]`` is a container too.
    """
    found: list[str] = []
    hidden, name = [False], ""
    for part in _OF_TYPE.findall(text):
        if part == "[]":
            if found and found[-1] == name:
                found.pop()
        elif part in "[<":
            hidden.append(hidden[-1] or name.rsplit(".", 1)[-1] not in through)
        elif part in "]>":
            if len(hidden) > 1:
                hidden.pop()
        else:
            name = part
            if not hidden[-1]:
                found.append(part)
    return found


@dataclass(frozen=True, slots=True)
class Links:
    """What a grammar calls the parts of ``a.b(…).c``: kinds of nodes, and fields in them."""

    names: frozenset[str]
    members: Mapping[str, tuple[str, str]]
    """Of ``a.b``: the field that holds ``b``, and the one that holds ``a``."""
    calls: Mapping[str, str]
    """Of ``a(…)``: the field that holds ``a``."""
    through: frozenset[str]
    """Brackets and awaits, which change nothing."""


def chain_parts(
    node: SgNode, links: Links, called: Callable[[SgNode], Called]
) -> list[str | Called] | None:
    """Return the parts of a chain from the left, or None when it begins with no name."""
    parts: list[str | Called] = []
    at: SgNode | None = node
    while at is not None:
        kind = at.kind()
        if kind in links.names:
            parts.append(at.text())
            return parts[::-1]
        if kind in links.members:
            member, owner = links.members[kind]
            name = at.field(member)
            parts.append(name.text() if name else "")
            at = at.field(owner)
        elif kind in links.calls:
            parts.append(called(at))
            at = at.field(links.calls[kind])
        elif kind in links.through:
            at = inner(at)
        else:
            return None
    return None


class Tree:
    """The syntax tree of one source text; code with mistakes gives the tree of what is right."""

    def __init__(self, source: str, grammar: str, facts: Facts) -> None:
        self.root = SgRoot(source, grammar).root()
        self.scopes = Scopes(facts)

    def nodes(self, kinds: Sequence[str]) -> Iterator[tuple[SgNode, str, int]]:
        """Yield nodes of some kinds, their kind and scope, as in the text, outer before inner."""
        found = self.root.find_all({"rule": {"any": [{"kind": kind} for kind in kinds]}})
        spans = [(n.range().start.index, -n.range().end.index, at) for at, n in enumerate(found)]
        for _, _, at in sorted(spans):
            yield found[at], found[at].kind(), self.scopes.enter(found[at])

    def strings(self, kinds: Sequence[str], wanted: str | None) -> list[SgNode]:
        """Return the string nodes that an expression of ast-grep's finds; none for None."""
        if wanted is None:
            return []
        return self.root.find_all({"rule": {"any": [{"kind": k} for k in kinds], "regex": wanted}})


class Scopes:
    """The scope that each node stands in, when nodes come in the order of the text."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._open: list[tuple[int, int, bool]] = []  # end, scope, is it a class

    def enter(self, node: SgNode) -> int:
        """Return the scope that a node stands in; scopes that ended before it are left."""
        start = node.range().start.index
        while self._open and self._open[-1][0] <= start:
            self._open.pop()
        return self._open[-1][1] if self._open else 0

    def open(self, node: SgNode, *, is_class: bool) -> int:
        """Begin the scope of a function or class; return its number."""
        parent = self.enter(node)
        self._facts.parents.append(parent)
        scope = len(self._facts.parents) - 1
        self._open.append((node.range().end.index, scope, is_class))
        return scope

    def of_class(self) -> int:
        """Return the scope of the innermost class, or the file's."""
        return next((scope for _, scope, is_class in reversed(self._open) if is_class), 0)

    def around(self) -> Iterator[tuple[int, bool]]:
        """Yield the scopes from the innermost to the outermost, and whether each is a class."""
        for _, scope, is_class in reversed(self._open):
            yield scope, is_class
