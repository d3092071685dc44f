"""The workload file's fields, and workload-file.md."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from docs.reference_pages.fields import default_of, described, models_in
from docs.reference_pages.markdown import cell, grid
from qafila.workload.model import Workload


@dataclass(frozen=True)
class Leaf:
    """One field of the workload file; ``default`` is what holds when nothing is written."""

    name: str
    model: type[BaseModel]
    field: FieldInfo
    default: Any

    @property
    def last(self) -> str:
        return self.name.rsplit(".", 1)[-1]


def leaves(model: type[BaseModel], prefix: str = "", default: Any = None) -> Iterator[Leaf]:
    """Yield every leaf of a model with its dotted name; a union's members in turn."""
    for name, field in model.model_fields.items():
        value = field.get_default() if default is None else getattr(default, name)
        inner = models_in(field.annotation)
        if not inner:
            yield Leaf(prefix + (field.alias or name), model, field, value)
        for one in inner:
            several = f"[{_kind(one)}]" if len(inner) > 1 else ""
            known = value if isinstance(value, one) else None
            yield from leaves(one, f"{prefix}{name}{several}.", known)


def _kind(model: type[BaseModel]) -> str:
    """Return the value of ``kind`` that chooses this member of a union."""
    return str(typing.get_args(model.model_fields["kind"].annotation)[0])


def workload_page() -> str:
    """Return docs/reference/workload-file.md."""
    parts = [
        "# The workload file",
        "",
        "One YAML file describes one service. `qafila apply FILE` checks it and names every "
        "mistake at once, each with its line; unknown fields are mistakes. "
        "`${QAFILA_VAR_NAME}` and `${QAFILA_VAR_NAME:-default}` are taken from the environment of "
        "`qafila apply`, and no other variable is. A complete example: "
        "[workloads/aws-docs-search.yaml](../../workloads/aws-docs-search.yaml).",
        "",
        "In the names below, `[pgvector]` and `[qdrant]` mark fields that belong to that "
        "`kind` only.",
    ]
    groups: dict[str, list[list[str]]] = {}
    for leaf in leaves(Workload):
        kind, bounds = described(leaf.model, leaf.last)
        group = leaf.name.split(".")[0] if "." in leaf.name else "the workload itself"
        groups.setdefault(group, []).append(
            [
                f"`{leaf.name}`",
                kind,
                default_of(leaf.default),
                bounds,
                cell(leaf.field.description or ""),
            ]
        )
    for group, rows in groups.items():
        parts += ["", f"## {group}", ""]
        about = Workload.model_fields.get(group)
        inner = models_in(about.annotation) if about else []
        if inner and (text := inspect.getdoc(inner[0])):
            parts += [text, ""]
        parts += [grid(["field", "type", "default", "bounds", "meaning"], rows)]
    return "\n".join(parts)
