-- name: insert_audit
-- One audit is one snapshot, written at its end in one transaction with everything below.
INSERT INTO qafila.audit (workload, run_id, started_at, finished_at, summary)
VALUES (%(workload)s, %(run_id)s, %(started_at)s, now(), '{}')
RETURNING id;

-- name: summarise_audit
-- In the same transaction: the summary names the audit's own id.
UPDATE qafila.audit
SET summary = %(summary)s
WHERE id = %(audit_id)s;

-- name: insert_outcome
-- How far each collector came.
INSERT INTO qafila.collector_outcome
    (audit_id, collector, region, outcome, resources, calls, missed)
VALUES
    (%(audit_id)s, %(collector)s, %(region)s, %(outcome)s, %(resources)s, %(calls)s, %(missed)s);

-- name: insert_resource
-- What exists, as seen by this audit.
INSERT INTO qafila.resource (audit_id, id, kind, name, region, size_bytes, tags, facts)
VALUES
    (%(audit_id)s, %(id)s, %(kind)s, %(name)s, %(region)s, %(size_bytes)s, %(tags)s, %(facts)s);

-- name: insert_edge
-- What hangs together, and how we know.
INSERT INTO qafila.resource_edge (audit_id, from_id, to_id, kind, source, confidence)
VALUES (%(audit_id)s, %(from_id)s, %(to_id)s, %(kind)s, %(source)s, %(confidence)s);
