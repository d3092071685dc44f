-- name: insert_audit
-- One audit is one snapshot, written at its end in one transaction with everything below.
INSERT INTO qafila.audit (workload, run_id, started_at, finished_at, summary)
VALUES (%(workload)s, %(run_id)s, %(started_at)s, now(), '{}')
RETURNING id;

-- name: summarise_audit
-- In the same transaction: the summary names the audit's own id.
UPDATE qafila.audit
SET summary = %(summary)s,
    evidence_number = %(evidence_number)s
WHERE id = %(audit_id)s;

-- name: insert_outcome
-- How far each collector came, and how far each file was read.
INSERT INTO qafila.collector_outcome
    (audit_id, collector, account, region, outcome, resources, calls, missed)
VALUES
    (%(audit_id)s, %(collector)s, %(account)s, %(region)s, %(outcome)s, %(resources)s, %(calls)s,
     %(missed)s);

-- name: copy_resources
-- What exists, as seen by this audit; one COPY, since an account may hold many thousands.
COPY qafila.resource
    (audit_id, id, kind, name, account, region, size_bytes, tags, facts, collector)
FROM STDIN;

-- name: copy_edges
-- What hangs together, and how we know.
COPY qafila.resource_edge (audit_id, from_id, to_id, kind, source, confidence, last_seen)
FROM STDIN;

-- name: copy_rows
-- The rows of every other table of the audit.
COPY qafila.audit_row (audit_id, part, number, body)
FROM STDIN;

-- name: newest_audit
-- The newest finished audit of a workload.
SELECT id, workload, run_id, started_at, finished_at, summary, evidence_number
FROM qafila.audit
WHERE workload = %(workload)s
  AND finished_at IS NOT NULL
ORDER BY id DESC
LIMIT 1;

-- name: audit_by_id
-- One audit.
SELECT id, workload, run_id, started_at, finished_at, summary, evidence_number
FROM qafila.audit
WHERE id = %(audit_id)s;

-- name: resources_of
-- Everything that one audit saw.
SELECT kind, name, account, region, size_bytes, tags, facts, id, collector
FROM qafila.resource
WHERE audit_id = %(audit_id)s
ORDER BY kind, name, id;

-- name: edges_of
-- Everything that hangs together, with the names of both ends where they were seen.
SELECT coalesce(a.name, e.from_id) AS from_name,
       coalesce(b.name, e.to_id) AS to_name,
       e.kind, e.source, e.confidence, e.last_seen, e.from_id, e.to_id
FROM qafila.resource_edge AS e
LEFT JOIN qafila.resource AS a ON a.audit_id = e.audit_id AND a.id = e.from_id
LEFT JOIN qafila.resource AS b ON b.audit_id = e.audit_id AND b.id = e.to_id
WHERE e.audit_id = %(audit_id)s
ORDER BY e.from_id, e.to_id, e.kind, e.source;

-- name: outcomes_of
-- How far each collector came.
SELECT collector, account, region, outcome, resources, calls, missed
FROM qafila.collector_outcome
WHERE audit_id = %(audit_id)s
ORDER BY collector, account, region;

-- name: rows_of
-- The rows of one of the other tables.
SELECT body
FROM qafila.audit_row
WHERE audit_id = %(audit_id)s
  AND part = %(part)s
ORDER BY number;

-- name: evidence_row
-- What the chain holds of this audit.
SELECT number, verdict, sentence, digest
FROM qafila.evidence
WHERE number = %(number)s;

-- name: spend_items
-- DuckDB, over the relation "line": what one month in one currency is made of. The price at the
-- beginning of a description is left off, so that an item keeps its name when its price changes.
SELECT service,
       coalesce(
           usage_type,
           nullif(concat_ws(' · ', meter,
                            regexp_replace(description, '^[$€£]?[0-9][0-9.,]* ', '')), ''),
           category, 'not named'
       ) AS item,
       coalesce(unit, '') AS unit,
       sum(amount),
       CASE WHEN count(quantity) = count(*) THEN sum(quantity) END,
       count(*)
FROM line
WHERE currency = $1
  AND period_start = $2
GROUP BY ALL
ORDER BY service, item, unit;
