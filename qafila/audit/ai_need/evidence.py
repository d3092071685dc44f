"""What the resources of one group show of a use of AI, each with its evidence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from qafila.audit.ai_need import names
from qafila.audit.ai_need.demand import Texts
from qafila.audit.estate import Resource, has_gpu

_SERVES = frozenset(
    {
        "ec2:instance",
        "elb:load-balancer",
        "elb:target-group",
        "lambda:function",
        "ecs:service",
        "api-gateway:api",
        "opensearch:domain",
        "kubernetes:service",
        "kubernetes:ingress",
        "kubernetes:deployment",
        "kubernetes:statefulset",
    }
)
_MODELS = ("bedrock:", "sagemaker:endpoint")
_TALK = frozenset({"tickets", "chats", "mail"})
_LISTED = 6


@dataclass(frozen=True)
class ModelUse:
    """A model that is called today. ``subject``: app tag or workload; empty: nobody says whose.

    ``what``: a host, an API, or ``file:line``; never a value of a variable.
    """

    subject: str
    what: str
    source: Literal["environment", "traces", "code", "cloud"]


def texts_in(members: Iterable[Resource]) -> list[Texts]:
    """Return the measured volumes of text: columns of databases, text objects of buckets."""
    found = []
    for resource in sorted(members, key=lambda r: r.id):
        size = _number(resource.facts.get("text_bytes"))
        if not size:
            continue
        count = resource.facts.get("rows", resource.facts.get("text_objects"))
        languages = resource.facts.get("languages") or {}
        found.append(Texts(None if count is None else _number(count), size, dict(languages)))
    return found


def text_evidence(members: Sequence[Resource]) -> tuple[bool, str]:
    """Tell whether there is text, and where."""
    holding = [r for r in members if _number(r.facts.get("text_bytes"))]
    total = sum(_number(r.facts["text_bytes"]) for r in holding)
    return bool(holding), f"{total} bytes of text in {listed(r.name for r in holding)}"


def gpu_evidence(members: Sequence[Resource]) -> tuple[bool, str]:
    """Tell whether a GPU is used, and by what."""
    found = [
        f"{r.name} {r.facts.get('type') or r.facts.get('gpu') or ''}".strip()
        for r in members
        if _number(r.facts.get("gpus")) or has_gpu(str(r.facts.get("type", "")))
    ]
    return bool(found), listed(found)


def endpoint_evidence(members: Sequence[Resource]) -> tuple[bool, str, bool]:
    """Tell whether people search or are answered there, where, and whether they are answered."""
    serving = [r for r in members if r.kind in _SERVES]
    answered = [r.name for r in serving if names.means_assistant(r.name)]
    searched = [r.name for r in serving if names.means_search(r.name)]
    words = [f"{r.name} in words" for r in members if r.kind == "postgres:fulltext"]
    found = {*answered, *searched, *words}
    return bool(found), listed(found) if found else "no name says so", bool(answered)


def talk_evidence(members: Sequence[Resource]) -> tuple[bool, str]:
    """Tell whether tables hold tickets, chats or mails, by their names."""
    found = {
        f"{r.facts.get('table', r.name)} ({r.facts['meaning']})"
        for r in members
        if r.kind in ("postgres:table", "postgres:text") and r.facts.get("meaning") in _TALK
    }
    return bool(found), listed(found)


def vector_evidence(members: Sequence[Resource]) -> tuple[bool, str]:
    """Tell whether vectors are kept already, and where."""
    found = set()
    for resource in members:
        if resource.kind == "postgres:vectors":
            dimensions = resource.facts.get("dimensions")
            found.add(resource.name if dimensions is None else f"{resource.name} ({dimensions})")
        found |= {i for i in _strings(resource.facts.get("images")) if names.keeps_vectors(i)}
        if str(resource.facts.get("collection_type", "")).upper() == "VECTORSEARCH":
            found.add(resource.name)
    return bool(found), listed(found)


def model_uses_in(members: Iterable[Resource]) -> list[ModelUse]:
    """Return the models that these resources call or serve, by hosts, names and images."""
    found = []
    for resource in members:
        subject = resource.tags.get("app", "")
        hosts = resource.facts.get("hosts")
        for host in sorted(set(hosts.values())) if isinstance(hosts, dict) else ():
            if names.is_model_host(str(host)):
                found.append(ModelUse(subject, f"{resource.name} calls {host}", "environment"))
        variables = names.model_variables(_strings(resource.facts.get("variables")))
        if variables:
            said = f"{resource.name} has {listed(variables)}"
            found.append(ModelUse(subject, said, "environment"))
        for image in _strings(resource.facts.get("images")):
            if names.serves_a_model(image):
                found.append(ModelUse(subject, f"{resource.name} runs {image}", "cloud"))
        if resource.kind.startswith(_MODELS):
            found.append(ModelUse(subject, f"{resource.kind} {resource.name}", "cloud"))
    return sorted(set(found), key=lambda u: (u.subject, u.what, u.source))


def listed(found: Iterable[str]) -> str:
    """Return names in order, the first few of many; "none" of none."""
    ordered = sorted(set(found))
    more = f" and {len(ordered) - _LISTED} more" if len(ordered) > _LISTED else ""
    return ", ".join(ordered[:_LISTED]) + more if ordered else "none"


def _strings(value: object) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list | tuple) else []


def _number(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0
