"""What the readers of all languages share: places, scopes and plain nodes of a syntax tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ast_grep_py import SgNode, SgRoot

from qafila.core.lock_in.facts import Facts, Spot

LONGEST_TEXT = 80


def spot(node: SgNode) -> Spot:
    """Return where a node starts, counted from 1, and the start of its first line."""
    start = node.range().start
    return Spot(start.line + 1, start.column + 1, node.text().split("\n", 1)[0][:LONGEST_TEXT])


def line(node: SgNode) -> int:
    """Return the line a node starts on, from 1."""
    return node.range().start.line + 1


def parse(source: str, language: str) -> SgNode:
    """Return the tree of a source text; code with mistakes gives the tree of what is right."""
    return SgRoot(source, language).root()


def in_order(root: SgNode, kinds: Sequence[str]) -> list[SgNode]:
    """Return the nodes of some kinds in the order of the text, the outer before the inner."""
    found = root.find_all({"rule": {"any": [{"kind": kind} for kind in kinds]}})
    spans = [(n.range().start.index, -n.range().end.index, at) for at, n in enumerate(found)]
    return [found[at] for _, _, at in sorted(spans)]


def strings(root: SgNode, kinds: Sequence[str], wanted: str | None) -> list[SgNode]:
    """Return the string nodes that an expression of ast-grep's finds; none for None."""
    if wanted is None:
        return []
    return root.find_all({"rule": {"any": [{"kind": k} for k in kinds], "regex": wanted}})


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
