"""The estate by waves as a picture, from what the ledger has of an audit."""

from __future__ import annotations

from qafila.audit.dependencies.waves import plan_waves
from qafila.audit.estate import Edge, Resource
from qafila.ledger.ledger import Connection, read_workload
from qafila.report.audit_facts import AuditFacts
from qafila.report.charts import as_address
from qafila.report.estate_picture import picture


def estate_picture(ledger: Connection, facts: AuditFacts) -> str | None:
    """Return the picture as a data address; None when nothing was seen that moves.

    The plan is computed again: it is a function of resources and edges, whatever their order.
    """
    resources = [
        Resource(
            r["id"],
            r["kind"],
            r["name"],
            "" if r["region"] == "all" else r["region"],
            r["size_bytes"],
            r["tags"],
            r["facts"],
            r["account"],
        )
        for r in facts.rows("resources")
    ]
    if not resources:
        return None
    edges = [
        Edge(e["from_id"], e["to_id"], e["kind"], e["source"], e["confidence"])
        for e in facts.rows("edges")
    ]
    spec, _ = read_workload(ledger, facts.workload)
    plan = plan_waves(resources, edges, criticality_of={facts.workload: spec.criticality})
    drawn = picture(plan, resources, edges)
    return None if drawn is None else as_address(drawn)
