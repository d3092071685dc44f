"""What stands in an HTTPRoute and in what the API server says of it: values in, values out.

Fields, bounds and conditions are those of Gateway API v1 (``gateway.networking.k8s.io/v1``).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

from qafila.workload.router import GatewayApiRouter as Settings

ANNOTATION = "qafila.io/version"
_NEEDED = ("Accepted", "ResolvedRefs")


def version_of(route: Mapping[str, Any]) -> str | None:
    """Return the version in the route's annotation; None without one."""
    found = (route["metadata"].get("annotations") or {}).get(ANNOTATION)
    return None if found is None else str(found)


def weights_of(route: Mapping[str, Any], rule: int) -> dict[str, int]:
    """Return the weight of each backend of a rule; 1 where none is given. Empty without the rule.

    A backend that is named twice counts with both weights.
    """
    weights: dict[str, int] = {}
    for backend in _backends(route, rule):
        name = str(backend["name"])
        weights[name] = weights.get(name, 0) + int(backend.get("weight", 1))
    return weights


def with_weights(
    route: Mapping[str, Any], rule: int, weights: Mapping[str, int], version: str
) -> dict[str, Any]:
    """Return the route with weights and version replaced; all else is as it was."""
    changed = copy.deepcopy(dict(route))
    metadata = changed["metadata"]
    metadata["annotations"] = {**(metadata.get("annotations") or {}), ANNOTATION: version}
    for backend in _backends(changed, rule):
        if backend["name"] in weights:
            backend["weight"] = weights[backend["name"]]
    return changed


def problems_of(route: Mapping[str, Any], settings: Settings, arms: Mapping[str, str]) -> list[str]:
    """Return why a rule cannot carry weights, each reason one sentence."""
    rules = route["spec"].get("rules") or []
    if settings.rule >= len(rules):
        return [f"it has {len(rules)} rules; there is none with the number {settings.rule}."]
    problems = []
    names = [str(b["name"]) for b in _backends(route, settings.rule)]
    weights = weights_of(route, settings.rule)
    for name, arm in arms.items():
        if names.count(name) == 0:
            problems.append(f"its rule {settings.rule} has no backend {name!r} ({arm}).")
        elif names.count(name) > 1:
            problems.append(f"its rule {settings.rule} names the backend {name!r} twice.")
    problems += [
        f"its backend {name!r} takes traffic and is neither baseline nor candidate."
        for name, weight in weights.items()
        if name not in arms and weight
    ]
    if version_of(route) is None and weights.get(settings.candidate_backend):
        problems.append(
            f"its backend {settings.candidate_backend!r} has weight already, and Qafila did not "
            "give it: set it to 0 first (a backend without a weight has 1)."
        )
    if not route["spec"].get("parentRefs"):
        problems.append("it has no parentRefs: no gateway routes by it.")
    problems += [
        f"{_parent(entry['parentRef'])} says {c['type']} is False: {c.get('message', '')}"
        for entry in _parents(route)
        for c in entry.get("conditions", [])
        if c["type"] in _NEEDED and c["status"] == "False" and _current(route, c)
    ]
    return problems


def unaccepted(route: Mapping[str, Any]) -> str | None:
    """Return why the route as it stands is not accepted by all its gateways; None: it is.

    A condition of an older generation says nothing of this one.
    """
    entries = list(_parents(route))
    wanted = [_key(route, ref) for ref in route["spec"].get("parentRefs") or []]
    if not wanted:
        return "no gateway routes by it: it has no parentRefs"
    told = {_key(route, entry["parentRef"]) for entry in entries}
    for key in wanted:
        if key not in told:
            return f"the gateway {key[3]} has not said anything of it"
    for entry in entries:
        if _key(route, entry["parentRef"]) not in wanted:
            continue
        conditions = {c["type"]: c for c in entry.get("conditions", [])}
        for kind in _NEEDED:
            found = conditions.get(kind)
            if found is None or not _current(route, found):
                return f"{_parent(entry['parentRef'])} has not said {kind} of this generation"
            if found["status"] != "True":
                return (
                    f"{_parent(entry['parentRef'])} says {kind} is {found['status']}: "
                    f"{found.get('message', '')}"
                )
        partly = conditions.get("PartiallyInvalid")
        if partly is not None and partly["status"] == "True" and _current(route, partly):
            return f"{_parent(entry['parentRef'])} dropped rules: {partly.get('message', '')}"
    return None


def said(error: Any) -> str:
    """Return the sentence of the API server's Status object, or else the HTTP reason."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError, RecursionError):
        return str(error.reason)


def _backends(route: Mapping[str, Any], rule: int) -> list[dict[str, Any]]:
    rules = route["spec"].get("rules") or []
    return list(rules[rule].get("backendRefs") or []) if rule < len(rules) else []


def _parents(route: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from (route.get("status") or {}).get("parents") or []


def _current(route: Mapping[str, Any], condition: Mapping[str, Any]) -> bool:
    seen = int(condition.get("observedGeneration", 0))
    return seen >= int(route["metadata"].get("generation", 1))


def _key(route: Mapping[str, Any], ref: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what makes a parent reference itself, defaults filled in as the API does."""
    return (
        ref.get("group", "gateway.networking.k8s.io"),
        ref.get("kind", "Gateway"),
        ref.get("namespace") or route["metadata"].get("namespace"),
        ref["name"],
        ref.get("sectionName"),
        ref.get("port"),
    )


def _parent(ref: Mapping[str, Any]) -> str:
    return f"the {ref.get('kind', 'Gateway')} {ref['name']}"
