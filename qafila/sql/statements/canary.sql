-- name: generations_on_the_road
-- What a rollback takes back: the newest generation that users may meet. What is promoted below one
-- that was rolled back, or that is settled, is not on the road: the former returned to it.
SELECT workload, number, revision, fingerprint, phase, phase_since
FROM qafila.generation AS g
WHERE workload = %(workload)s
  AND phase IN ('canary', 'promoted')
  AND NOT EXISTS (
      SELECT
      FROM qafila.generation AS later
      WHERE later.workload = g.workload
        AND later.number > g.number
        AND later.phase IN ('canary', 'promoted', 'rolled_back', 'settled', 'cleaned')
  )
ORDER BY number DESC;

-- name: returned_to
-- The newest generation that was promoted and stays, and the newest above it that was taken back;
-- no row otherwise.
SELECT stays.number, taken_back.number
FROM (
    SELECT max(number) AS number
    FROM qafila.generation
    WHERE workload = %(workload)s
      AND phase IN ('promoted', 'settled', 'cleaned')
) AS stays
JOIN (
    SELECT max(number) AS number
    FROM qafila.generation
    WHERE workload = %(workload)s
      AND phase = 'rolled_back'
) AS taken_back ON taken_back.number > stays.number;

-- name: put_look
-- One look of the judge. A number is written once: the primary key refuses a second rollout.
INSERT INTO qafila.look
    (workload, generation, rollout, number, looked_at, step, weight, acknowledged, observed,
     counts, e_values, verdict, sentence)
VALUES
    (%(workload)s, %(generation)s, %(rollout)s, %(number)s, now(), %(step)s, %(weight)s,
     %(acknowledged)s, %(observed)s, %(counts)s, %(e_values)s, %(verdict)s, %(sentence)s);

-- name: looks_of
-- A rollout's looks in order.
SELECT number, looked_at, step, weight, acknowledged, observed, counts, e_values, verdict, sentence
FROM qafila.look
WHERE rollout = %(rollout)s
ORDER BY number;

-- name: newest_rollout
-- The rollout that was looked at last, for status and reports.
SELECT rollout
FROM qafila.look
WHERE workload = %(workload)s
ORDER BY looked_at DESC
LIMIT 1;

-- name: last_weight
-- The weight at which a generation was looked at last.
SELECT number, weight
FROM qafila.look
WHERE workload = %(workload)s
  AND generation = %(generation)s
ORDER BY looked_at DESC, number DESC
LIMIT 1;

-- name: time_of_day
-- One clock for the timetable of every controller: the ledger's.
SELECT clock_timestamp();

-- name: settled_below
-- A workload of lower criticality that was rolled out and settled on these kinds of target and
-- router; an adopted generation was settled without a rollout.
SELECT g.workload
FROM qafila.generation AS g
JOIN qafila.workload_revision AS r USING (workload, revision)
WHERE g.workload <> %(workload)s
  AND g.phase IN ('settled', 'cleaned')
  AND r.spec ->> 'criticality' IN ('low', 'medium')
  AND r.spec #>> '{corpus,target,kind}' = %(target)s
  AND r.spec #>> '{service,router,kind}' = %(router)s
  AND EXISTS (
      SELECT
      FROM qafila.evidence AS e
      WHERE e.workload = g.workload
        AND e.generation = g.number
        AND e.kind = 'settle'
  )
ORDER BY g.workload, g.number
LIMIT 1;
