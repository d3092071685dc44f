"""Read one Go file into facts."""

from __future__ import annotations

import re

from ast_grep_py import SgNode

from qafila.audit.code_scan.facts import (
    Binding,
    Called,
    Chain,
    Facts,
    Import,
    Text,
    Use,
)
from qafila.audit.code_scan.tree import Links, Tree, chain_parts, line, named, spot

_SCOPES = {"function_declaration": False, "method_declaration": False, "func_literal": False}
_KINDS = (
    *_SCOPES,
    "import_spec",
    "call_expression",
    "short_var_declaration",
    "var_spec",
    "assignment_statement",
    "parameter_declaration",
    "field_declaration",
)
_LINKS = Links(
    names=frozenset({"identifier"}),
    members={"selector_expression": ("field", "operand")},
    calls={"call_expression": "function"},
    through=frozenset({"parenthesized_expression"}),
)
_TYPE = re.compile(r"\*?\s*([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?)$")  # no slice, map or channel
_VERSION = re.compile(r"v\d+$")
_DRESSING = re.compile(r"^go-|-go$|\.go$|^go\.")


def read(source: str, wanted: str | None, *, names: bool = True) -> Facts:
    """Return the facts; ``names`` False leaves out all but strings, ``wanted`` None the strings.

    ``wanted`` is an expression that finds the strings to keep."""
    facts = Facts("go")
    tree = Tree(source, "go", facts)
    for node, kind, scope in tree.nodes(_KINDS) if names else ():
        if kind in _SCOPES:
            tree.scopes.open(node, is_class=False)
            _returned(facts, node, kind, scope)
        elif kind == "import_spec":
            _import(facts, node)
        elif kind == "call_expression":
            if (chain := _chain(node)) is not None:
                facts.uses.append(Use(spot(node), chain, scope))
        else:
            _binding(facts, node, scope)
    for node in tree.strings(("interpreted_string_literal", "raw_string_literal"), wanted):
        parent = node.parent()
        if parent is None or parent.kind() != "import_spec":
            facts.texts.append(Text(spot(node), node.text()[1:-1]))
    return facts


def _import(facts: Facts, node: SgNode) -> None:
    path, alias = node.field("path"), node.field("name")
    if path is None:
        return
    name = path.text()[1:-1]
    local = alias.text() if alias is not None else package_name(name)
    facts.imports.append(Import(spot(node), name, None if local in ("_", ".") else local, name))


def package_name(path: str) -> str:
    """Return the name that an import most likely binds: the last part that is no version."""
    parts = path.split("/")
    if len(parts) > 1 and _VERSION.fullmatch(parts[-1]):
        parts.pop()
    return _DRESSING.sub("", parts[-1]).replace("-", "")


def _binding(facts: Facts, node: SgNode, scope: int) -> None:
    kind = node.kind()
    if kind in ("short_var_declaration", "assignment_statement"):
        left, right = node.field("left"), node.field("right")
        names = named(left) if left is not None else []
        values = named(right) if right is not None else []
        declared: tuple[Chain, ...] = ()
    else:
        names = [c for c in named(node) if c.kind() in ("identifier", "field_identifier")]
        value = node.field("value")
        values = named(value) if value is not None else []
        declared = _declared(node.field("type"))
    for at, name in enumerate(names):
        single = len(values) == 1 and at == 0
        chain = _chain(values[at]) if single or len(values) == len(names) else None
        chains = (chain,) if chain is not None else ()
        made = declared
        if not declared and len(values) == len(names):
            made = _literal(values[at])
        bound, owner = name.text(), scope
        if name.kind() == "selector_expression":
            part = name.field("field")
            bound, owner = f".{part.text() if part else ''}", 0
        elif kind == "field_declaration":
            bound, owner = f".{bound}", 0
        facts.bindings.append(
            Binding(
                bound,
                owner,
                line(node),
                chains,
                None,
                made,
                seen_from=scope if owner != scope else -1,
            )
        )


def _returned(facts: Facts, node: SgNode, kind: str, scope: int) -> None:
    """Bind what a function says to return, of several values the first: ``open()``."""
    name, result = node.field("name"), node.field("result")
    if kind != "function_declaration" or name is None or result is None:
        return
    if result.kind() == "parameter_list":
        first = next(iter(named(result)), None)
        result = first.field("type") if first is not None else None
    if declared := _declared(result):
        bound = f"{name.text()}()"
        facts.bindings.append(Binding(bound, scope, line(node), declared=declared))


def _literal(node: SgNode) -> tuple[Chain, ...]:
    """Return the type of ``&kafka.Writer{…}`` or of the same without an address."""
    value = node.field("operand") if node.kind() == "unary_expression" else node
    if value is None or value.kind() != "composite_literal":
        return ()
    return _declared(value.field("type"))


def _declared(node: SgNode | None) -> tuple[Chain, ...]:
    found = _TYPE.match(node.text()) if node is not None else None
    return (tuple(found[1].split(".")),) if found else ()


def _chain(node: SgNode) -> Chain | None:
    parts = chain_parts(node, _LINKS, lambda _: Called())
    return tuple(parts) if parts is not None else None
