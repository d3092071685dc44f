"""Read one JavaScript or TypeScript file into facts."""

from __future__ import annotations

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
from qafila.audit.code_scan.tree import (
    Links,
    Scopes,
    Tree,
    chain_parts,
    field,
    inner,
    line,
    named,
    names_in_type,
    spot,
)

_SCOPES = {
    "function_declaration": False,
    "function_expression": False,
    "arrow_function": False,
    "method_definition": False,
    "generator_function_declaration": False,
    "class_declaration": True,
    "class": True,
    "abstract_class_declaration": True,
}
_KINDS = (
    *_SCOPES,
    "import_statement",
    "export_statement",
    "call_expression",
    "new_expression",
    "variable_declarator",
    "assignment_expression",
    "public_field_definition",
    "return_statement",
)
_BRACKETS = frozenset(
    {"await_expression", "parenthesized_expression", "as_expression", "non_null_expression"}
)
_LINKS = Links(
    names=frozenset({"identifier", "this", "import"}),
    members={"member_expression": ("property", "object")},
    calls={"call_expression": "function", "new_expression": "constructor"},
    through=_BRACKETS,
)
_THROUGH = frozenset({"Promise", "Awaited", "Readonly", "NonNullable", "Required", "Partial"})


def read(source: str, wanted: str | None, language: str = "tsx", *, names: bool = True) -> Facts:
    """Return the facts; ``names`` False leaves out all but strings, ``wanted`` None the strings.

    ``wanted`` is an expression that finds the strings to keep."""
    facts = Facts("javascript")
    tree = Tree(source, language, facts)
    for node, kind, scope in tree.nodes(_KINDS) if names else ():
        if kind in _SCOPES:
            _open(facts, tree.scopes, node, scope)
        elif kind in ("import_statement", "export_statement"):
            _import(facts, node, scope)
        elif kind in ("call_expression", "new_expression"):
            _call(facts, node, scope)
        elif kind == "return_statement":
            _returned(facts, node, scope)
        else:
            _binding(facts, tree.scopes, node, scope)
    for node in tree.strings(("string", "template_string"), wanted):
        facts.texts.append(Text(spot(node), node.text()[1:-1]))
    return facts


def _import(facts: Facts, node: SgNode, scope: int) -> None:
    source = node.field("source")
    clause = next((c for c in named(node) if c.kind().startswith("import_")), None)
    if source is None and clause is not None and clause.kind() == "import_require_clause":
        source = clause.field("source")
        name = inner(clause)
        if source is not None and name is not None:
            path = source.text()[1:-1]
            facts.imports.append(Import(spot(node), path, name.text(), path, scope))
        return
    if source is None:
        return
    path = source.text()[1:-1]
    here, before = spot(node), len(facts.imports)
    for part in named(clause) if clause is not None and clause.kind() == "import_clause" else []:
        if part.kind() == "identifier":
            facts.imports.append(Import(here, path, part.text(), path, scope))
        elif part.kind() == "namespace_import" and (name := inner(part)) is not None:
            facts.imports.append(Import(here, path, name.text(), path, scope))
        elif part.kind() == "named_imports":
            for each in named(part):
                name, alias = each.field("name"), each.field("alias")
                if name is not None:
                    bound = f"{path}.{name.text()}"
                    local = (alias or name).text()
                    facts.imports.append(Import(here, bound, local, bound, scope))
    if len(facts.imports) == before:
        facts.imports.append(Import(here, path, None, path, scope))


def _open(facts: Facts, scopes: Scopes, node: SgNode, around: int) -> None:
    kind = node.kind()
    scope = scopes.open(node, is_class=_SCOPES[kind])
    if _SCOPES[kind]:
        heritage = next((c for c in named(node) if c.kind() == "class_heritage"), None)
        if heritage is not None:
            facts.implements += [
                n.text()
                for c in named(heritage)
                for n in named(c)
                if n.kind() in ("identifier", "type_identifier")
            ]
        return
    if (bound := _returned_name(node)) is not None and (declared := _declared(node)):
        facts.bindings.append(Binding(bound, around, line(node), declared=declared))
    single = node.field("parameter")
    parameters = node.field("parameters")
    for each in ([single] if single else []) + (named(parameters) if parameters else []):
        name = each if each.kind() == "identifier" else each.field("pattern") or inner(each)
        if name is None or name.kind() not in ("identifier", "required_parameter"):
            continue
        declared = _declared(each)
        facts.bindings.append(Binding(name.text(), scope, line(node), declared=declared))
        if any(c.kind() in ("accessibility_modifier", "readonly") for c in each.children()):
            facts.bindings.append(
                Binding(f"self.{name.text()}", scopes.of_class(), line(node), declared=declared)
            )


def _returned_name(function: SgNode) -> str | None:
    """Return the name that what a function returns is bound to: ``open()``, ``self.open()``."""
    name = function.field("name")
    if function.kind() == "arrow_function" and (above := function.parent()) is not None:
        name = above.field("name") if above.kind() == "variable_declarator" else None
    if name is None:
        return None
    if function.kind() != "method_definition":
        return f"{name.text()}()"
    is_getter = any(c.kind() == "get" for c in function.children())
    return f"self.{name.text()}" if is_getter else f"self.{name.text()}()"


def _returned(facts: Facts, node: SgNode, scope: int) -> None:
    value = inner(node)
    while value is not None and value.kind() in _BRACKETS:
        value = inner(value)
    chain = _chain(value) if value is not None else None
    if chain is None:
        return
    function = next((a for a in node.ancestors() if a.kind() in _SCOPES), None)
    bound = _returned_name(function) if function is not None else None
    if bound is not None:
        around = facts.parents[scope]
        facts.bindings.append(Binding(bound, around, line(node), (chain,), seen_from=scope))


def _declared(node: SgNode) -> tuple[Chain, ...]:
    found = next((c for c in named(node) if c.kind() == "type_annotation"), None)
    if found is None:
        return ()
    return tuple(tuple(name.split(".")) for name in names_in_type(found.text(), _THROUGH))


def _call(facts: Facts, node: SgNode, scope: int) -> None:
    chain = _chain(node)
    if chain is None:
        return
    module = _required(chain)
    if module is None:
        facts.uses.append(Use(spot(node), chain, scope))
    else:
        facts.imports.append(Import(spot(node), module, None, module, scope))


def _required(chain: Chain) -> str | None:
    """Return the module of ``require("m")`` or ``import("m")``."""
    if len(chain) == 2 and chain[0] in ("require", "import") and isinstance(chain[1], Called):
        return dict(chain[1].literals).get("0")
    return None


def _binding(facts: Facts, scopes: Scopes, node: SgNode, scope: int) -> None:
    if node.kind() == "assignment_expression":
        target, value = node.field("left"), node.field("right")
    else:
        target, value = node.field("name"), node.field("value")
    if target is None:
        return
    declared = _declared(node)
    while value is not None and value.kind() in _BRACKETS:
        declared = declared or _asserted(value)
        value = inner(value)
    chain = _chain(value) if value is not None else None
    module = _required(chain[:2]) if chain is not None else None
    if module is not None and chain is not None:
        bound = ".".join([module, *[e for e in chain[2:] if isinstance(e, str)]])
        _bind_module(facts, value or node, target, module, bound, scope)
        return
    if target.kind() == "property_identifier":
        name: str | None = f"self.{target.text()}"
    else:
        name = _target(target)
    if name is None or (value is not None and value.kind() in ("null", "undefined")):
        return
    literal = value.text()[1:-1] if value is not None and value.kind() == "string" else None
    owner = scopes.of_class() if name.startswith("self.") else scope
    facts.bindings.append(
        Binding(
            name,
            owner,
            line(node),
            (chain,) if chain else (),
            literal,
            declared,
            scope if owner != scope else -1,
        )
    )


def _asserted(value: SgNode) -> tuple[Chain, ...]:
    """Return the type that ``value as Type`` says."""
    parts = named(value)
    if value.kind() != "as_expression" or len(parts) < 2:
        return ()
    return tuple(tuple(name.split(".")) for name in names_in_type(parts[-1].text(), _THROUGH))


def _bind_module(
    facts: Facts, node: SgNode, target: SgNode, module: str, bound: str, scope: int
) -> None:
    here = spot(node)
    if target.kind() == "identifier":
        facts.imports.append(Import(here, bound, target.text(), bound, scope))
    elif target.kind() == "object_pattern":
        for each in named(target):
            key, value = each.field("key"), each.field("value")
            name = (key or each).text()
            local = (value or each).text()
            facts.imports.append(Import(here, f"{module}.{name}", local, f"{module}.{name}", scope))


def _target(node: SgNode) -> str | None:
    if node.kind() == "identifier":
        return node.text()
    if node.kind() == "member_expression" and node.text().startswith("this."):
        owner, name = node.field("object"), node.field("property")
        if owner is not None and owner.kind() == "this" and name is not None:
            return f"self.{name.text()}"
    return None


def _chain(node: SgNode) -> Chain | None:
    parts = chain_parts(node, _LINKS, _called)
    return _with_this(parts) if parts is not None else None


def _with_this(parts: list[str | Called]) -> Chain | None:
    if parts[0] == "this":
        if len(parts) == 1 or not isinstance(parts[1], str):
            return None
        return (f"self.{parts[1]}", *parts[2:])
    return tuple(parts)


def _called(node: SgNode) -> Called:
    new = node.kind() == "new_expression"
    arguments = field(node, "arguments")
    first = inner(arguments) if arguments is not None else None
    if first is not None and first.kind() == "string":
        return Called((("0", first.text()[1:-1]),), new=new)
    return Called(new=new)
