-- name: last_look
-- The newest look of the judge at a generation.
SELECT rollout, number, looked_at, step, weight, acknowledged, observed, counts, e_values,
       verdict, sentence
FROM qafila.look
WHERE workload = %(workload)s
  AND generation = %(generation)s
ORDER BY looked_at DESC
LIMIT 1;

-- name: rollout_so_far
-- The looks of a generation's newest rollout put together: counts of those that users met, the
-- newest one, and the traffic of the last thirty. Reads only.
WITH mine AS (
    SELECT *
    FROM qafila.look
    WHERE rollout = (
        SELECT rollout
        FROM qafila.look
        WHERE workload = %(workload)s
          AND generation = %(generation)s
        ORDER BY looked_at DESC, number DESC
        LIMIT 1
    )
), counted AS (
    SELECT number, looked_at, weight,
           coalesce((counts -> 'baseline' ->> 'requests')::bigint, 0) AS baseline_requests,
           coalesce((counts -> 'baseline' ->> 'bad')::bigint, 0) AS baseline_bad,
           coalesce((counts -> 'candidate' ->> 'requests')::bigint, 0) AS candidate_requests,
           coalesce((counts -> 'candidate' ->> 'bad')::bigint, 0) AS candidate_bad
    FROM mine
), lately AS (
    SELECT *
    FROM counted
    ORDER BY number DESC
    LIMIT 31
), pace AS (
    SELECT sum(baseline_requests + candidate_requests)
               FILTER (WHERE number > (SELECT min(number) FROM lately))
           / nullif(extract(epoch FROM max(looked_at) - min(looked_at)), 0) AS requests_per_s
    FROM lately
)
SELECT newest.rollout, whole.began_at, newest.looked_at, whole.looks, newest.step, newest.weight,
       newest.verdict, newest.sentence, newest.e_values, whole.baseline_requests,
       whole.baseline_bad, whole.candidate_requests, whole.candidate_bad,
       pace.requests_per_s::double precision AS requests_per_s
FROM (
    SELECT min(looked_at) AS began_at, count(*) AS looks,
           coalesce(sum(baseline_requests) FILTER (WHERE weight > 0), 0)::bigint
               AS baseline_requests,
           coalesce(sum(baseline_bad) FILTER (WHERE weight > 0), 0)::bigint AS baseline_bad,
           coalesce(sum(candidate_requests) FILTER (WHERE weight > 0), 0)::bigint
               AS candidate_requests,
           coalesce(sum(candidate_bad) FILTER (WHERE weight > 0), 0)::bigint AS candidate_bad
    FROM counted
) AS whole
CROSS JOIN pace
CROSS JOIN (
    SELECT *
    FROM mine
    ORDER BY number DESC
    LIMIT 1
) AS newest;

-- name: mark_watchdog
-- One row a watchdog, for ever: its name is the machine and what runs it, not the process.
INSERT INTO qafila.watchdog (name, seen_at)
VALUES (%(name)s, clock_timestamp())
ON CONFLICT (name) DO UPDATE
SET seen_at = excluded.seen_at;

-- name: watchdog_seen
-- How long ago any watchdog looked, by the ledger's clock. Reads only.
SELECT extract(epoch FROM clock_timestamp() - max(seen_at))::double precision AS age_seconds
FROM qafila.watchdog;
