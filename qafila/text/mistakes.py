"""What pydantic finds wrong, in the words of the file: where it stands, and which names are known.

Pydantic's place of a mistake names also what nobody wrote, such as the chosen kind of a block. The
model tells the two apart, so nothing here knows the name of a field.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AliasChoices, BaseModel

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

Path = tuple[int | str, ...]


def describe(model: type[BaseModel], error: ErrorDetails) -> tuple[Path, str]:
    """Return where one mistake stands, as it is written, and a sentence without its full stop."""
    path, known = _followed(model, error["loc"])
    name = ".".join(map(str, path))
    if error["type"] == "extra_forbidden":
        return path, f"{name} is not a field ({_meant(str(path[-1]), known)})"
    if error["type"] == "missing":
        return path, f"{name} is missing"
    message = error["msg"].removeprefix("Value error, ")
    return path, f"{name}: {message[0].lower() + message[1:]}" if name else message


def _meant(name: str, known: Collection[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"


def _followed(model: type[BaseModel], place: Path) -> tuple[Path, Collection[str]]:
    """Return the parts of a place that stand in the file, and the names known where it ends."""
    path: list[int | str] = []
    known: Collection[str] = ()
    types: list[Any] = [model]
    for part in place:
        models = [t for t in types if isinstance(t, type) and issubclass(t, BaseModel)]
        if isinstance(part, int):
            path.append(part)
            types = [one for t in types for one in _choices(_inside(t))]
        elif len(models) > 1:  # which of them was chosen
            types = [t for t in models if part in _kinds(t)]
        elif models:
            fields = dict(_names(models[0]))
            path.append(part)
            known = tuple(fields)
            types = list(_choices(fields[part].annotation)) if part in fields else []
        elif any(_is_mapping(t) for t in types):
            path.append(part)
            types = [one for t in types for one in _choices(_inside(t))]
        # else it is pydantic's own word for one of several types
    return tuple(path), known


def _names(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """Yield each name that a field may have in a file; the usual one first."""
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias or name]
        yield from ((choice, field) for choice in choices if isinstance(choice, str))


def _kinds(model: type[BaseModel]) -> set[Any]:
    """Return what may stand in the fields of a model that take only words of a list."""
    fields = (field.annotation for field in model.model_fields.values())
    return {word for f in fields if get_origin(f) is Literal for word in get_args(f)}


def _choices(type_: Any) -> Iterator[Any]:
    """Yield the types that a type is one of; itself when it is no union."""
    if get_origin(type_) is Annotated:
        yield from _choices(get_args(type_)[0])
    elif get_origin(type_) in (Union, UnionType):
        for one in get_args(type_):
            yield from _choices(one)
    else:
        yield type_


def _inside(type_: Any) -> Any:
    """Return the type of what a list, tuple or mapping holds; None for anything else."""
    inner = [one for one in get_args(type_) if one is not ...]
    return inner[-1] if inner else None


def _is_mapping(type_: Any) -> bool:
    origin = get_origin(type_) or type_
    return isinstance(origin, type) and issubclass(origin, Mapping)
