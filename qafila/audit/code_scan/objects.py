"""What a name in a file can be: part of an SDK, or an object of it; and what calling that does."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from qafila.audit.code_scan.api import Api
from qafila.audit.code_scan.facts import Called
from qafila.audit.code_scan.model import Site

BUILDERS = frozenset({"builder", "standard", "newBuilder"})
_MAKERS = re.compile(
    r"(?:from|create|connect|open|default|init|new|getInstance|getDefault)(?![a-z])"
)
_JS_MAKERS = re.compile(r"(?:create|connect|init|initialize|get|open)(?:[A-Z]\w*)?$")
_GO_MAKES = re.compile(r"New|Dial|Connect|Open|Must[A-Z]")
_GO_HOW = re.compile(r"(?<=\w)(?:With|From|For)[A-Z]\w*$")
_HANDLES = re.compile(
    r"__a?enter__$|get_paginator$|get_waiter$|batch_writer$|with_options$|\w*_client$|get\w*Client$"
)
_MADE = re.compile(r"(?:get_or_)?(?:create|open)_")  # a general SDK gives dictionaries instead
_OF_ANY = frozenset({*dir(str), *dir(dict), *dir(list)}) - frozenset(
    {"get", "update", "count", "insert", "remove", "index", "copy", "clear"}  # a collection's too
)
"""Methods of plain data, which an object of an SDK often is."""


@dataclass(frozen=True, slots=True)
class Sdk:
    """Something a module path names; ``api`` None: no provider's yet (``google``)."""

    path: str
    api: Api | None


@dataclass(frozen=True, slots=True)
class Client:
    """A client of one API, or an object that it returned of the same API; and what is read on it.

    ``building`` marks a builder: what is called on it is part of the construction. ``plain`` marks
    another object of the SDK: its own methods are calls, those of what is read on it are not.
    """

    api: Api
    member: str = ""
    building: bool = False
    plain: bool = False


Value = Sdk | Client | None


@dataclass(frozen=True, slots=True)
class Step:
    """What the last call of a chain did: its API, the form, and the operation's name."""

    api: Api
    site: Site
    operation: str


def called_on(value: Client, language: str) -> tuple[Value, Step | None]:
    """Return what calling a method of an object gives, and the step that it is."""
    if value.building:
        return replace(value, member="", building=last(value.member) != "build"), None
    name = last(value.member)
    called_itself = not name and language != "javascript"  # createOpenAI() gives a function
    if value.plain and (called_itself or "." in value.member or name in _OF_ANY):
        return None, None
    step = Step(value.api, Site.CALL, value.member)
    if (
        name in value.api.handles
        or _HANDLES.match(name)
        or (language == "python" and name[:1].isupper())
    ):
        return Client(value.api), step
    if language == "python" and _MADE.match(name) and not (value.plain or value.api.named):
        return Client(value.api, plain=True), step
    return None, step


def constructs(language: str, api: Api, path: str, called: Called) -> bool:
    """Say whether a call of a path of an SDK makes an object of it."""
    name = last(path)
    owner = last(path[: -len(name) - 1])
    if owner[:1].isupper() and api.is_object(owner) and _MAKERS.match(name):
        return True
    if language == "java" and not called.new:
        return name in BUILDERS and api.is_object(owner)
    if language == "go":
        made = _GO_HOW.sub("", name)  # NewFromConfig makes no configuration
        return name in api.clients or bool(_GO_MAKES.match(name) and api.is_object(made))
    if language == "javascript" and not called.new:
        return api.is_client(name) or _JS_MAKERS.match(name) is not None
    return api.is_object(name)


def last(path: str) -> str:
    """Return the last part of a path."""
    return path[max(path.rfind("."), path.rfind("/")) + 1 :]
