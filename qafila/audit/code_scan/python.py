"""Read one Python file into facts."""

from __future__ import annotations

from dataclasses import replace

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
from qafila.audit.code_scan.python_values import (
    cast_type,
    chain_of,
    chains_of,
    declared_type,
    string_value,
    target_of,
)
from qafila.audit.code_scan.tree import Scopes, Tree, inner, line, named, spot

_SCOPES = {"function_definition": False, "class_definition": True, "lambda": False}
_KINDS = (
    *_SCOPES,
    "import_statement",
    "import_from_statement",
    "call",
    "assignment",
    "global_statement",
    "named_expression",
    "as_pattern",
    "for_statement",
    "return_statement",
)
_LISTS = frozenset({"expression_list", "tuple"})
_EMPTY = 1_000_000
_DYNAMIC = ("importlib.import_module", "import_module", "__import__")


def read(source: str, wanted: str | None, *, names: bool = True) -> Facts:
    """Return the facts; ``names`` False leaves out all but strings, ``wanted`` None the strings.

    ``wanted`` is an expression that finds the strings to keep."""
    facts = Facts("python")
    facts.indents = [
        len(text) - len(text.lstrip()) if text.strip() else _EMPTY for text in source.split("\n")
    ]
    tree = Tree(source, "python", facts)
    of_file: set[tuple[int, str]] = set()  # names that a function declares global
    for node, kind, scope in tree.nodes(_KINDS) if names else ():
        if kind in _SCOPES:
            _open(facts, tree.scopes, node, scope)
        elif kind == "import_statement":
            _import(facts, node, scope)
        elif kind == "import_from_statement":
            _import_from(facts, node, scope)
        elif kind == "call":
            _call(facts, node, scope)
        elif kind == "return_statement":
            _returned(facts, tree.scopes, node, scope)
        elif kind == "global_statement":
            of_file |= {(scope, name.text()) for name in named(node)}
        else:
            _binding(facts, tree.scopes, node, scope)
    if of_file:
        _move_to_file(facts, of_file)
    for node in tree.strings(("string",), wanted):
        if not _is_documentation(node):
            facts.texts.append(Text(spot(node), string_value(node.text())))
    return facts


def _move_to_file(facts: Facts, of_file: set[tuple[int, str]]) -> None:
    facts.imports = [
        replace(i, scope=0) if (i.scope, i.local) in of_file else i for i in facts.imports
    ]
    facts.bindings = [
        replace(b, scope=0, seen_from=b.scope) if (b.scope, b.name) in of_file else b
        for b in facts.bindings
    ]


def _is_documentation(node: SgNode) -> bool:
    parent = node.parent()
    while parent is not None and parent.kind() in (
        "concatenated_string",
        "parenthesized_expression",
    ):
        parent = parent.parent()
    return parent is not None and parent.kind() == "expression_statement"


def _import(facts: Facts, node: SgNode, scope: int) -> None:
    for child in named(node):
        path, alias = _imported(child)
        local, bound = (alias, path) if alias else (path.split(".")[0], path.split(".")[0])
        facts.imports.append(Import(spot(node), path, local, bound, scope))


def _import_from(facts: Facts, node: SgNode, scope: int) -> None:
    module = node.field("module_name")
    base = module.text() if module is not None else ""
    join = "" if base.endswith(".") else "."
    for child in named(node)[1:]:
        if child.kind() == "wildcard_import":
            facts.imports.append(Import(spot(node), base, None, base, scope, star=True))
            continue
        name, alias = _imported(child)
        path = f"{base}{join}{name}"
        facts.imports.append(Import(spot(node), path, alias or name, path, scope))


def _imported(node: SgNode) -> tuple[str, str]:
    if node.kind() == "aliased_import":
        name, alias = node.field("name"), node.field("alias")
        return (name.text() if name else "", alias.text() if alias else "")
    return node.text(), ""


def _open(facts: Facts, scopes: Scopes, node: SgNode, around: int) -> None:
    kind = node.kind()
    in_class = around == scopes.of_class() and around != 0
    scope = scopes.open(node, is_class=_SCOPES[kind])
    if kind == "class_definition":
        bases = node.field("superclasses")
        for base in named(bases) if bases else []:
            if base.kind() in ("identifier", "attribute"):
                facts.implements.append(base.text())
        return
    parameters = node.field("parameters")
    for parameter in named(parameters) if parameters else []:
        name = (
            parameter
            if parameter.kind() == "identifier"
            else (parameter.field("name") or inner(parameter))
        )
        if name is not None and name.kind() == "identifier" and name.text() not in ("self", "cls"):
            declared = declared_type(parameter.field("type"))
            default = parameter.field("value")
            chains = chains_of(default) if default is not None else ()
            facts.bindings.append(
                Binding(name.text(), scope, line(node), chains, None, declared, around)
            )
    returned = declared_type(node.field("return_type"))
    name = node.field("name")
    if returned and name is not None:
        bound = _returned_name(node, name.text(), in_class)
        facts.bindings.append(Binding(bound, around, line(node), declared=returned))


def _returned_name(function: SgNode, name: str, in_class: bool) -> str:
    if not in_class:
        return f"{name}()"
    parent = function.parent()
    decorators = (
        []
        if parent is None or parent.kind() != "decorated_definition"
        else [c.text() for c in named(parent) if c.kind() == "decorator"]
    )
    is_property = any("property" in d for d in decorators)
    return f"self.{name}" if is_property else f"self.{name}()"


def _returned(facts: Facts, scopes: Scopes, node: SgNode, scope: int) -> None:
    value = inner(node)
    chains = chains_of(value) if value is not None else ()
    if not chains:
        return
    function = next((a for a in node.ancestors() if a.kind() in _SCOPES), None)
    name = function.field("name") if function is not None else None
    if function is None or name is None:
        return
    around = facts.parents[scope]
    in_class = any(s == around and is_class for s, is_class in scopes.around())
    bound = _returned_name(function, name.text(), in_class)
    facts.bindings.append(Binding(bound, around, line(node), chains, seen_from=scope))


def _call(facts: Facts, node: SgNode, scope: int) -> None:
    chain = chain_of(node)
    if chain is None:
        return
    facts.uses.append(Use(spot(node), chain, scope))
    if (module := _dynamic(chain)) is not None:
        facts.imports.append(Import(spot(node), module, None, module, scope))


def _dynamic(chain: Chain) -> str | None:
    """Return the module that a call imports by a name in a string, if it does."""
    called = chain[-1]
    names = [e for e in chain if isinstance(e, str)]
    if len(names) != len(chain) - 1 or not isinstance(called, Called):
        return None
    if ".".join(names) not in _DYNAMIC:
        return None
    return dict(called.literals).get("0")


def _binding(facts: Facts, scopes: Scopes, node: SgNode, scope: int) -> None:
    kind = node.kind()
    declared: tuple[Chain, ...] = ()
    if kind == "as_pattern":
        value, target = _aliased(node)
    elif kind == "named_expression":
        value, target = node.field("value"), node.field("name")
    else:
        target, value = node.field("left"), node.field("right")
        declared = declared_type(node.field("type"))
    if target is None:
        return
    if target.kind() in ("pattern_list", "tuple_pattern") or kind == "for_statement":
        names = named(target) if target.kind() != "identifier" else [target]
        values = named(value) if value is not None and value.kind() in _LISTS else []
        paired = kind != "for_statement" and len(values) == len(names)
        for at, each in enumerate(names):
            if (bound := target_of(each)) is not None:
                owner = _scope_of(bound, scopes, scope)
                chains = chains_of(values[at]) if paired else ()
                facts.bindings.append(Binding(bound, owner, line(node), chains, seen_from=scope))
        return
    bound = target_of(target)
    if bound is None or (not declared and value is not None and value.kind() == "none"):
        return
    in_class_body = scope != 0 and scope == scopes.of_class()
    literal = None
    if (
        value is not None
        and value.kind() == "string"
        and "interpolation" not in {c.kind() for c in named(value)}
    ):
        literal = string_value(value.text())
    chains = chains_of(value) if value is not None else ()
    if value is not None and not declared:
        declared = cast_type(value)
    if value is not None and (module := _dynamic_of(chains)) is not None:
        facts.imports.append(Import(spot(value), module, bound, module, scope))
        return
    owner = _scope_of(bound, scopes, scope)
    seen_from = scope if owner != scope else -1
    for name in {bound, f"self.{bound}"} if in_class_body and "." not in bound else {bound}:
        facts.bindings.append(
            Binding(name, owner, line(node), chains, literal, declared, seen_from)
        )


def _aliased(node: SgNode) -> tuple[SgNode | None, SgNode | None]:
    parts = named(node)
    return (parts[0], inner(parts[-1])) if parts else (None, None)


def _dynamic_of(chains: tuple[Chain, ...]) -> str | None:
    return _dynamic(chains[0]) if len(chains) == 1 else None


def _scope_of(name: str, scopes: Scopes, scope: int) -> int:
    return scopes.of_class() if name.startswith("self.") else scope
