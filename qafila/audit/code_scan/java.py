"""Read one Java file into facts."""

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
from qafila.audit.code_scan.tree import Scopes, Tree, inner, line, named, spot

_SCOPES = {
    "class_declaration": True,
    "interface_declaration": True,
    "record_declaration": True,
    "enum_declaration": True,
    "method_declaration": False,
    "constructor_declaration": False,
    "lambda_expression": False,
}
_KINDS = (
    *_SCOPES,
    "import_declaration",
    "method_invocation",
    "object_creation_expression",
    "field_declaration",
    "local_variable_declaration",
    "assignment_expression",
    "formal_parameter",
    "resource",
    "enhanced_for_statement",
    "instanceof_expression",
)
_NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


def read(source: str, wanted: str | None, *, names: bool = True) -> Facts:
    """Return the facts; ``names`` False leaves out all but strings, ``wanted`` None the strings.

    ``wanted`` is an expression that finds the strings to keep."""
    facts = Facts("java")
    tree = Tree(source, "java", facts)
    for node, kind, scope in tree.nodes(_KINDS) if names else ():
        if kind in _SCOPES:
            tree.scopes.open(node, is_class=_SCOPES[kind])
            for heritage in named(node):
                if heritage.kind() in ("superclass", "super_interfaces"):
                    facts.implements += [
                        n
                        for n in _NAME.findall(heritage.text())
                        if n not in ("extends", "implements")
                    ]
            if kind == "method_declaration" and (name := node.field("name")) is not None:
                _bind(facts, f"{name.text()}()", scope, node, None, _declared(node), scope)
        elif kind == "import_declaration":
            _import(facts, node)
        elif kind in ("method_invocation", "object_creation_expression"):
            if (chain := _chain(node)) is not None and len(chain) > 1:
                facts.uses.append(Use(spot(node), chain, scope))
        else:
            _binding(facts, tree.scopes, node, scope)
    for node in tree.strings(("string_literal",), wanted):
        facts.texts.append(Text(spot(node), node.text().strip('"')))
    return facts


def _import(facts: Facts, node: SgNode) -> None:
    name = next((c for c in named(node) if c.kind() in ("scoped_identifier", "identifier")), None)
    if name is None:
        return
    path = name.text()
    if any(c.kind() == "asterisk" for c in named(node)):
        facts.imports.append(Import(spot(node), path, None, path, star=True))
    else:
        facts.imports.append(Import(spot(node), path, path.rsplit(".", 1)[-1], path))


def _binding(facts: Facts, scopes: Scopes, node: SgNode, scope: int) -> None:
    kind = node.kind()
    if kind == "assignment_expression":
        left, right = node.field("left"), node.field("right")
        chain = _chain(right) if right is not None else None
        if left is None or (right is not None and right.kind() == "null_literal"):
            return
        is_field = left.kind() == "field_access"
        name = left.text().removeprefix("this.")
        owner = scopes.of_class() if is_field else scope
        _bind(facts, name, owner, node, chain, (), scope)
        return
    declared = _declared(node)
    declarators = [c for c in named(node) if c.kind() == "variable_declarator"] or [node]
    for each in declarators:
        name_node, value = each.field("name"), each.field("value")
        if name_node is not None:
            chain = _chain(value) if value is not None else None
            _bind(facts, name_node.text(), scope, node, chain, declared, scope)


def _declared(node: SgNode) -> tuple[Chain, ...]:
    """Return the type that a declaration gives; none for an array."""
    of = node.field("right") if node.kind() == "instanceof_expression" else node.field("type")
    found = _NAME.match(of.text()) if of is not None else None
    return (tuple(found[0].split(".")),) if found and of and of.kind() != "array_type" else ()


def _bind(
    facts: Facts,
    name: str,
    owner: int,
    node: SgNode,
    chain: Chain | None,
    declared: tuple[Chain, ...],
    scope: int,
) -> None:
    chains = (chain,) if chain is not None else ()
    seen_from = scope if owner != scope else -1
    facts.bindings.append(
        Binding(name, owner, line(node), chains, None, declared, seen_from=seen_from)
    )


def _chain(node: SgNode) -> Chain | None:
    parts: list[str | Called] = []
    at: SgNode | None = node
    while at is not None:
        kind = at.kind()
        if kind == "identifier":
            parts.append(at.text())
            break
        if kind == "method_invocation":
            name, owner = at.field("name"), at.field("object")
            parts += [Called(), name.text() if name else ""]
            if owner is None or owner.kind() == "this":
                break
            at = owner
        elif kind == "field_access":
            name, owner = at.field("field"), at.field("object")
            parts.append(name.text() if name else "")
            if owner is not None and owner.kind() == "this":
                break
            at = owner
        elif kind == "object_creation_expression":
            made = at.field("type")
            found = _NAME.match(made.text()) if made is not None else None
            if found is None:
                return None
            parts += [Called(new=True), *reversed(found[0].split("."))]
            break
        elif kind in ("parenthesized_expression", "cast_expression"):
            at = inner(at) if kind == "parenthesized_expression" else at.field("value")
        else:
            return None
    parts.reverse()
    return tuple(parts)
