"""The deployments of prefect.yaml with the flows behind them, and flows.md."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from docs.reference_pages.fields import default_of, described
from docs.reference_pages.markdown import cell, grid
from qafila.text.strict_yaml import load_yaml

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Deployment:
    """One entry of prefect.yaml with the flow behind it."""

    name: str
    description: str
    tags: tuple[str, ...]
    schedule: str | None
    switched_on: bool
    docstring: str
    request: type[BaseModel]


def deployments() -> list[Deployment]:
    """Return every deployment of prefect.yaml, in its order."""
    declared = load_yaml((ROOT / "prefect.yaml").read_text(), "prefect.yaml")["deployments"]
    return [_deployment(entry) for entry in declared]


def _deployment(entry: Mapping[str, Any]) -> Deployment:
    file, function = entry["entrypoint"].split(":")
    flow = getattr(importlib.import_module(file.removesuffix(".py").replace("/", ".")), function)
    request = typing.get_type_hints(flow.fn)["request"]
    schedules = entry.get("schedules", [])
    return Deployment(
        name=entry["name"],
        description=entry["description"],
        tags=tuple(entry["tags"]),
        schedule=f"{schedules[0]['cron']} {schedules[0]['timezone']}" if schedules else None,
        switched_on=bool(schedules) and schedules[0].get("active", True),
        docstring=inspect.getdoc(flow.fn) or "",
        request=request,
    )


def flows_page() -> str:
    """Return docs/reference/flows.md."""
    parts = [
        "# Flows and their parameters",
        "",
        "Every deployment takes one parameter, `request`; the Prefect UI draws its form, "
        "`qafila run FLOW WORKLOAD --set NAME=VALUE` fills the same fields. Unknown fields and "
        "values out of bounds are refused before a run exists.",
    ]
    for one in deployments():
        rows = []
        for name, field in one.request.model_fields.items():
            kind, bounds = described(one.request, name)
            meaning = cell(field.description or "")
            rows.append([f"`{name}`", kind, default_of(field.get_default()), bounds, meaning])
        parts += ["", f"## {one.name}", "", one.docstring, ""]
        if one.schedule:
            when = "Runs by itself" if one.switched_on else "Once its schedule is switched on, runs"
            parts += [f"{when}: `{one.schedule}`.", ""]
        parts += [f"Tags: {', '.join(f'`{t}`' for t in one.tags)}", ""]
        parts += [grid(["field", "type", "default", "bounds", "meaning"], rows)]
    return "\n".join(parts)
