"""Which models are called today, as code and traces show it; resources show the rest themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qafila.audit.ai_need.evidence import ModelUse
from qafila.audit.ai_need.names import is_model_host
from qafila.audit.code_scan.model import Kind, LockIn, Site
from qafila.audit.dependencies.kinds import HOST
from qafila.audit.estate import Edge, Resource

_USED = (Site.CLIENT, Site.CALL, Site.ENDPOINT)  # an import alone calls nothing


def model_uses(
    workload: str,
    code: LockIn | None,
    edges: Iterable[Edge],
    resources: Sequence[Resource],
    *,
    traced: bool,
) -> list[ModelUse] | None:
    """Return the uses that code and traces show; None: neither was there to look at.

    Code that the workload file names is the workload's; a call on the wire is its caller's.
    """
    if code is None and not traced:
        return None
    uses = [
        ModelUse(workload, f"{hit.file}:{hit.line}", "code")
        for hit in (code.of(Kind.MODEL) if code else ())
        if hit.site in _USED
    ]
    known = {r.id: r for r in resources}
    for edge in edges:
        host = edge.to_id.removeprefix(HOST)
        if edge.to_id.startswith(HOST) and is_model_host(host):
            caller = known.get(edge.from_id)
            subject = "" if caller is None else caller.tags.get("app", "")
            name = edge.from_id if caller is None else caller.name
            uses.append(ModelUse(subject, f"{name} calls {host}", "traces"))
    return list(dict.fromkeys(uses))
