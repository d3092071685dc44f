"""Changes to Python modules, one at a time: conditions, comparisons, numbers, calls, results.

Not changed: texts, types, names, the digits of ``round``, and ``assert``, which only tells the type
checker what the database promises.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.mutation import Mutation

_COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
}
_Change = Callable[[ast.AST], ast.AST]


def python_mutations(root: Path, path: str) -> Iterator[Mutation]:
    """Return the mutations of one module."""
    tree = ast.parse((root / path).read_text(encoding="utf-8"))
    for number, (node, within) in enumerate(_nodes(tree, ())):
        for change in _changes(node):
            mutated = copy.deepcopy(tree)
            old = [n for n, _ in _nodes(mutated, ())][number]
            new = change(copy.deepcopy(old))
            _Replace(old, new).visit(mutated)
            ast.fix_missing_locations(mutated)
            line = getattr(node, "lineno", 0)
            what = f"{_short(node)} → {_short(new)}"
            yield Mutation(path, f"{line} {'.'.join(within)}".strip(), what, ast.unparse(mutated))


def _nodes(node: ast.AST, within: tuple[str, ...]) -> Iterator[tuple[ast.AST, tuple[str, ...]]]:
    """Return what may be changed, in order, with the names of the class and function around it."""
    if isinstance(node, ast.Assert):
        return
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        within = (*within, node.name)
    yield node, within
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases", "format_spec"):
            continue
        if isinstance(node, ast.Call) and name == "args" and _named(node) == "round":
            value = value[:1]
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _nodes(child, within)


def _changes(node: ast.AST) -> Iterator[_Change]:
    if isinstance(node, ast.Compare):
        for n, op in enumerate(node.ops):
            for other in _COMPARED[type(op)]:
                yield lambda new, n=n, other=other: _with(new, "ops", n, other())  # type: ignore[misc]
    elif isinstance(node, ast.BoolOp):
        other_bool = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield lambda new: _set(new, op=other_bool)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield lambda new: new.operand  # type: ignore[attr-defined, no-any-return]
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _COMPUTED:
        other_op = _COMPUTED[type(node.op)]()
        yield lambda new: _set(new, op=other_op)
    elif isinstance(node, ast.If | ast.IfExp | ast.While) and isinstance(
        node.test, ast.Name | ast.Attribute | ast.Call
    ):
        yield lambda new: _set(new, test=ast.UnaryOp(ast.Not(), new.test))  # type: ignore[attr-defined]
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield lambda new: ast.Constant(not new.value)  # type: ignore[attr-defined]
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        for by in (1, -1):
            yield lambda new, by=by: ast.Constant(new.value + by)  # type: ignore[misc]
    elif isinstance(node, ast.Return) and not (
        node.value is None or (isinstance(node.value, ast.Constant) and node.value.value is None)
    ):
        yield lambda new: ast.Return(ast.Constant(None))
    elif isinstance(node, ast.Raise) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ):
        yield lambda new: ast.Pass()


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old, self._new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self._new if node is self._old else super().generic_visit(node)


def _set(node: ast.AST, **fields: object) -> ast.AST:
    for name, value in fields.items():
        setattr(node, name, value)
    return node


def _with(node: ast.AST, field: str, n: int, value: ast.AST) -> ast.AST:
    getattr(node, field)[n] = value
    return node


def _named(call: ast.Call) -> str | None:
    return call.func.id if isinstance(call.func, ast.Name) else None


def _short(node: ast.AST) -> str:
    whole = " ".join(ast.unparse(ast.fix_missing_locations(node)).split())
    return whole if len(whole) <= 90 else f"{whole[:87]}..."
