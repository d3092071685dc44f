-- name: generations_of
-- Every generation of a workload in order. Reads only.
SELECT workload, number, revision, fingerprint, phase, phase_since
FROM qafila.generation
WHERE workload = %(workload)s
ORDER BY number;

-- name: spec_at
-- The workload as it was meant at one revision. Reads only.
SELECT spec
FROM qafila.workload_revision
WHERE workload = %(workload)s
  AND revision = %(revision)s;

-- name: evidence_for
-- The newest rows about one generation, and about its workload alone; oldest first. Reads only.
SELECT number, recorded_at, kind, generation, verdict, sentence, digest, body
FROM (
    SELECT number, recorded_at, kind, generation, verdict, sentence, digest, body
    FROM qafila.evidence
    WHERE workload = %(workload)s
      AND (generation = %(generation)s OR generation IS NULL)
    ORDER BY number DESC
    LIMIT %(most)s
) AS newest
ORDER BY number;

-- name: count_evidence_for
-- How many rows evidence_for would return without its limit. Reads only.
SELECT count(*)
FROM qafila.evidence
WHERE workload = %(workload)s
  AND (generation = %(generation)s OR generation IS NULL);

-- name: evidence_head
-- Where the chain ends. Reads only.
SELECT number, digest
FROM qafila.evidence_head;

-- name: approvals_of
-- Every question about one generation, oldest first; a pending one past its time reads as lapsed.
SELECT id, subject, question,
       CASE WHEN state = 'pending' AND expires_at <= now() THEN 'lapsed' ELSE state END AS state,
       decided_by, notes, asked_at, expires_at, decided_at
FROM qafila.approval
WHERE workload = %(workload)s
  AND generation = %(generation)s
ORDER BY asked_at, id;

-- name: certificates_of
-- Every certificate of one generation, valid or not, oldest first. Reads only.
SELECT id, workload, generation, router, versions, seconds_to_zero, failed_requests,
       evidence_number, issued_at, expires_at
FROM qafila.certificate
WHERE workload = %(workload)s
  AND generation = %(generation)s
ORDER BY id;

-- name: outcomes_of
-- How far each collector of one audit came. Reads only.
SELECT collector, region, outcome, resources, calls, missed
FROM qafila.collector_outcome
WHERE audit_id = %(audit_id)s
ORDER BY collector, region;
