-- name: rollouts_of
-- Every rollout of a workload that looked or left evidence, oldest first. Reads only.
SELECT rollout, generation, min(at) AS began_at
FROM (
    SELECT rollout, generation, min(looked_at) AS at
    FROM qafila.look
    WHERE workload = %(workload)s
    GROUP BY rollout, generation
    UNION ALL
    SELECT body ->> 'rollout', generation, recorded_at
    FROM qafila.evidence
    WHERE workload = %(workload)s
      AND kind = 'rollout'
      AND body ? 'rollout'
) AS seen
GROUP BY rollout, generation
ORDER BY began_at, rollout;

-- name: end_of
-- The row that a rollout wrote at its end. Reads only.
SELECT number, recorded_at, kind, generation, verdict, sentence, digest, body
FROM qafila.evidence
WHERE workload = %(workload)s
  AND kind = 'rollout'
  AND body ->> 'rollout' = %(rollout)s
ORDER BY number DESC
LIMIT 1;

-- name: rows_for
-- The rows that a rollout's page rests on: the newest validation and drill before it, answers and
-- shadow meanwhile, its end, and the ways back until the next rollout. Reads only.
SELECT number, recorded_at, kind, generation, verdict, sentence, digest, body
FROM qafila.evidence AS e
WHERE workload = %(workload)s
  AND (generation = %(generation)s OR generation IS NULL)
  AND (
      number IN (
          SELECT max(number)
          FROM qafila.evidence
          WHERE workload = %(workload)s
            AND generation = %(generation)s
            AND kind IN ('validation', 'drill')
            AND recorded_at <= %(began_at)s
          GROUP BY kind
      )
      OR (kind = 'approval' AND body ->> 'id' = ANY(%(approvals)s))
      OR (kind = 'rollback' AND recorded_at BETWEEN %(began_at)s AND %(next_at)s)
      OR (body ->> 'rollout' = %(rollout)s)
  )
ORDER BY number;

-- name: approvals_for
-- The questions of one rollout, oldest first; a pending one past its time reads as lapsed.
SELECT id, subject, question,
       CASE WHEN state = 'pending' AND expires_at <= now() THEN 'lapsed' ELSE state END AS state,
       decided_by, notes, asked_at, expires_at, decided_at, needed, requested_by
FROM qafila.approval
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND (position(%(rollout)s IN id) > 0 OR asked_at BETWEEN %(began_at)s AND %(ended_at)s)
ORDER BY asked_at, id;

-- name: answers_for
-- Each person's answer to some questions, in order. Reads only.
SELECT approval, name, decision, notes, answered_at
FROM qafila.approval_answer
WHERE approval = ANY(%(approvals)s)
ORDER BY answered_at, person;

-- name: certificate_at
-- Certificates that were valid for a generation when its rollout began. Reads only.
SELECT id, workload, generation, router, versions, seconds_to_zero, failed_requests,
       evidence_number, issued_at, expires_at
FROM qafila.certificate
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND issued_at <= %(began_at)s
  AND expires_at > %(began_at)s
ORDER BY id DESC;

-- name: paid_meanwhile
-- What was paid for a generation during its rollout, by subject. Reads only.
SELECT what, unit, currency, sum(quantity)::double precision AS quantity,
       sum(coalesce(actual, expected)) AS amount,
       CASE WHEN bool_and(settled_at IS NOT NULL) THEN 'settled' ELSE 'expected' END AS state
FROM qafila.cost_entry
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND entered_at BETWEEN %(began_at)s AND %(ended_at)s
GROUP BY what, unit, currency
ORDER BY what, unit, currency;

-- name: chain_rows
-- Every row about a generation and about its workload alone, as the chain needs it. Reads only.
SELECT number, workload, generation, kind, run_id, verdict, sentence, recorded_at, body,
       previous, digest
FROM qafila.evidence
WHERE workload = %(workload)s
  AND (%(generation)s::integer IS NULL OR generation = %(generation)s OR generation IS NULL)
ORDER BY number;

-- name: digests_of
-- The digests of some rows as the ledger has them now. Reads only.
SELECT number, digest
FROM qafila.evidence
WHERE number = ANY(%(numbers)s);

-- name: settings_of_connections
-- Every recorded setting, to know what may not leave the house. Reads only.
SELECT settings
FROM qafila.connection;
