"""A model's field in words: its type, its bounds and what holds when nothing is written."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Mapping
from types import UnionType
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from docs.reference_pages.markdown import cell

_PATTERNS = {  # what an operator needs to know of them
    r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$": "lower-case words and digits joined by `-`",
    r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$": "`name` or `schema.name`",
    r"^https?://[^\s/]+(/.*)?$": "`http://…` or `https://…`",
    r"^[A-Z]{3}$": "three capitals",
    r"^[A-Z]{2}$": "two capitals",
    r"^/\S*$": "begins with `/`",
}


def described(model: type[BaseModel], name: str) -> tuple[str, str]:
    """Return type and bounds of a field in words, from its JSON schema."""
    schema = model.model_json_schema()
    return _type_of(_resolved(schema["properties"][name], schema)), _bounds(
        schema["properties"][name]
    )


def _resolved(part: Mapping[str, Any], whole: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" in part:
        return dict(whole["$defs"][part["$ref"].rsplit("/", 1)[-1]])
    return dict(part)


def _type_of(part: Mapping[str, Any]) -> str:
    if "const" in part:
        return f"`{part['const']}`"
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    if "anyOf" in part:
        return " or ".join(_type_of(p) for p in part["anyOf"] if p.get("type") != "null")
    if part.get("type") == "array":
        return f"list of {_type_of(part['items'])}"
    names = {"integer": "whole number", "string": "text", "boolean": "yes or no"}
    return names.get(part.get("type", ""), str(part.get("type", "any")))


def _bounds(part: Mapping[str, Any]) -> str:
    part = {**part, **next((p for p in part.get("anyOf", []) if p.get("type") != "null"), {})}
    if "items" in part and "minimum" in part["items"]:
        return f"each {_bounds(part['items'])}"
    low = part.get("minimum", part.get("exclusiveMinimum"))
    high = part.get("maximum")
    words = []
    if low is not None and high is not None:
        words.append(
            f"{'over ' if 'exclusiveMinimum' in part else ''}{_number(low)} … {_number(high)}"
        )
    elif low is not None:
        words.append(
            f"over {_number(low)}" if "exclusiveMinimum" in part else f"at least {_number(low)}"
        )
    if "minItems" in part:
        words.append(f"at least {part['minItems']}")
    if "minLength" in part:
        words.append(f"at least {part['minLength']} letters")
    if "maxLength" in part:
        words.append(f"at most {part['maxLength']} letters")
    pattern = part.get("pattern") or part.get("items", {}).get("pattern")
    if pattern:
        words.append(_PATTERNS.get(pattern, f"`{pattern}`"))
    return cell("; ".join(words))


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def default_of(value: Any) -> str:
    """Return what holds when nothing is written, in words."""
    if value is PydanticUndefined:
        return "**needed**"
    if value is None or value == "":
        return "empty"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that an annotation names: itself, a union's members or a list's items."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, UnionType, list):
        return [m for a in typing.get_args(annotation) for m in models_in(a)]
    return []
