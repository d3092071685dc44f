"""Fields of records and payloads: dots go deeper, and what holds no text says so."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from qafila.workload.corpus import EVERYBODY


class WrongField(ValueError):
    """A field holds what cannot be used; the message says which field and what is in it."""


def dig(record: Mapping[str, Any], path: str) -> Any:
    """Return the value at a path, or None; a field that has the dots in its name comes first.

    A string on the way is read as JSON: LlamaIndex keeps a whole node, its text in it, in one.
    """
    if path in record:
        return record[path]
    held: Any = record
    for part in path.split("."):
        if isinstance(held, str) and held.startswith("{"):
            try:
                held = json.loads(held)
            except (ValueError, RecursionError):
                return None
        if not isinstance(held, Mapping):
            return None
        held = held.get(part)
    return held


def holds(record: Mapping[str, Any], path: str) -> bool:
    """Say whether there is a field at a path, or one on the way to it that is null."""
    if path in record or dig(record, path) is not None:
        return True
    above, _, last = path.rpartition(".")
    if not above:
        return False
    held = dig(record, above)
    return holds(record, above) if held is None else isinstance(held, Mapping) and last in held


def text_of(record: Mapping[str, Any], path: str) -> str:
    """Return the text at a path; empty when there is none."""
    value = dig(record, path)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, Decimal):
        return str(value)
    raise WrongField(f"{path} holds {_called(value)}, not a text")


def groups_of(record: Mapping[str, Any], path: str | None) -> list[str]:
    """Return the groups that may read a record: everybody only when no field is named.

    CSV has no lists: there the field is a JSON list, or names with a comma or semicolon between.
    """
    if path is None:
        return [EVERYBODY]
    value = dig(record, path)
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise WrongField(f"{path} begins like a list and is none") from error
    elif isinstance(value, str):
        value = [g.strip() for g in value.replace(";", ",").split(",")]
    if value is None:
        raise WrongField(f"{path} is missing, so nobody could read it; for everybody: {EVERYBODY}")
    if not isinstance(value, Sequence):
        raise WrongField(f"{path} holds {_called(value)}, not a list of names")
    if other := [g for g in value if not isinstance(g, str)]:
        what = "null" if other[0] is None else _called(other[0])
        raise WrongField(f"{path} holds a list with {what} in it, not only names")
    return [g for g in value if g]


def metadata_of(record: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """Return the fields to be kept, each under the path that names it; what is not there, not."""
    return {p: value for p in paths if (value := dig(record, p)) is not None}


def _called(value: object) -> str:
    if isinstance(value, bool):
        return "yes or no"
    if isinstance(value, bytes | bytearray):
        return "bytes (write them as UTF-8 strings)"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if isinstance(value, Sequence) else type(value).__name__
