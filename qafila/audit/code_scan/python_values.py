"""What names, types and expressions of Python say, for the reader of its files."""

from __future__ import annotations

import re

from ast_grep_py import SgNode

from qafila.audit.code_scan.facts import Called, Chain
from qafila.audit.code_scan.tree import Links, chain_parts, field, inner, named, names_in_type

_LINKS = Links(
    names=frozenset({"identifier"}),
    members={"attribute": ("attribute", "object")},
    calls={"call": "function"},
    through=frozenset({"await", "parenthesized_expression"}),
)
_QUOTES = re.compile(r"""[A-Za-z]{0,3}("{3}|'{3}|"|')""")
_THROUGH = frozenset(
    {
        "Optional",
        "Union",
        "Annotated",
        "Final",
        "ClassVar",
        "Awaitable",
        "Coroutine",
        "Generator",
        "AsyncGenerator",
        "Iterator",
        "AsyncIterator",
        "ContextManager",
        "AsyncContextManager",
        "AbstractContextManager",
        "AbstractAsyncContextManager",
    }
)
"""What a context manager yields is written as an iterator of it."""
_NAMING = frozenset({"client", "resource", "create_client", "build", "import_module", "__import__"})
_CASTS = frozenset({"cast", "typing.cast", "t.cast", "typing_extensions.cast"})


def string_value(text: str) -> str:
    """Return what is between the quotes."""
    found = _QUOTES.match(text)
    return text[found.end() : -len(found[1])] if found else text


def target_of(node: SgNode) -> str | None:
    """Return the name that an assignment binds, an own attribute as ``self.client``, or None."""
    if node.kind() == "identifier":
        return node.text()
    if node.kind() == "attribute":
        owner, name = node.field("object"), node.field("attribute")
        if owner is not None and name is not None and owner.text() in ("self", "cls"):
            return f"self.{name.text()}"
    return None


def cast_type(value: SgNode) -> tuple[Chain, ...]:
    """Return the type that ``typing.cast(Type, value)`` says, if a value is one."""
    while value.kind() in ("await", "parenthesized_expression") and (within := inner(value)):
        value = within
    function, arguments = value.field("function"), value.field("arguments")
    if function is None or arguments is None or function.text() not in _CASTS:
        return ()
    return declared_type(next(iter(named(arguments)), None))


def declared_type(node: SgNode | None) -> tuple[Chain, ...]:
    """Return the names in a type, also in one written as a string: Client, Client | None, …"""
    if node is None:
        return ()
    return tuple(tuple(name.split(".")) for name in names_in_type(node.text(), _THROUGH))


def chains_of(node: SgNode) -> tuple[Chain, ...]:
    """Return what an expression may be: both sides of ``a or b`` and of ``a if b else c``."""
    waiting, found = [node], []
    while waiting:
        at = waiting.pop()
        if at.kind() in ("boolean_operator", "conditional_expression"):
            parts = named(at)
            waiting += [parts[-1], parts[0]]
        elif at.kind() == "parenthesized_expression":
            waiting += named(at)[:1]
        elif (chain := chain_of(at)) is not None:
            found.append(chain)
    return tuple(found)


def chain_of(node: SgNode) -> Chain | None:
    """Return an expression as a chain, or None when it begins with no name."""
    parts = chain_parts(node, _LINKS, _called)
    return _with_self(parts) if parts is not None else None


def _names_one(function: SgNode) -> bool:
    """Say whether a call may name a service or a module in its arguments."""
    if function.kind() == "identifier":
        return True  # whatever an import called it
    name = function.field("attribute") if function.kind() == "attribute" else None
    return name is not None and name.text() in _NAMING


def _with_self(parts: list[str | Called]) -> Chain:
    if parts[0] in ("self", "cls") and len(parts) > 1 and isinstance(parts[1], str):
        return (f"self.{parts[1]}", *parts[2:])
    return tuple(parts)


def _called(node: SgNode) -> Called:
    function = node.field("function")
    if function is None or not _names_one(function):
        return Called()
    literals, names = [], []
    arguments = field(node, "arguments")
    if arguments is None or arguments.kind() != "argument_list":
        return Called()
    for at, argument in enumerate(named(arguments)):
        key, value = str(at), argument
        if argument.kind() == "keyword_argument":
            name, given = argument.field("name"), argument.field("value")
            if name is None or given is None:
                continue
            key, value = name.text(), given
        if key not in ("0", "service_name", "serviceName"):
            continue
        if value.kind() == "string":
            literals.append((key, string_value(value.text())))
        elif value.kind() == "identifier" or (
            value.kind() == "attribute" and value.text().startswith("self.")
        ):
            names.append((key, value.text()))
    return Called(tuple(literals), tuple(names))
