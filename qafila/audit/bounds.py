"""Keep what an estate says of itself within bounds: a tag of 10 MB must not fill the audit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from qafila.audit.estate import Resource

LONGEST = 1024  # characters of a name or a tag's value; AWS itself allows 256
_LONGEST_FACT = 8 * LONGEST
_LONGEST_KEY = 256
_MOST = 5_000  # members of one list or mapping


def cut_text(text: str, longest: int = LONGEST) -> str:
    """Return the text, or its beginning with a mark that says how long it was."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]}… (cut: {len(text)} characters)"


def bounded(resource: Resource) -> tuple[Resource, tuple[str, ...]]:
    """Return the resource with nothing in it too long, and the names of what was cut."""
    cuts: list[str] = []
    name = _kept(resource.name, "name", LONGEST, cuts)
    tags = _kept(dict(resource.tags), "tag", LONGEST, cuts)
    facts = _kept(dict(resource.facts), "fact", _LONGEST_FACT, cuts)
    if not cuts:
        return resource, ()
    return replace(resource, name=name, tags=tags, facts=facts), tuple(cuts)


def _kept(value: Any, what: str, longest: int, cuts: list[str]) -> Any:
    if isinstance(value, str):
        if len(value) > longest:
            cuts.append(what)
        return cut_text(value, longest)
    if isinstance(value, Mapping):
        members = {}
        for key, member in _first(value, what, cuts):
            short = cut_text(str(key), _LONGEST_KEY)
            if len(str(key)) > _LONGEST_KEY:
                cuts.append(f"key of a {what}")
            members[short] = _kept(member, f"{what} {short}", longest, cuts)
        return members
    if isinstance(value, list | tuple):
        return [
            _kept(m, what, longest, cuts) for _, m in _first(dict(enumerate(value)), what, cuts)
        ]
    return value


def _first(members: Mapping[Any, Any], what: str, cuts: list[str]) -> list[tuple[Any, Any]]:
    if len(members) > _MOST:
        cuts.append(f"{what}, all but {_MOST} of {len(members)}")
    return list(members.items())[:_MOST]
