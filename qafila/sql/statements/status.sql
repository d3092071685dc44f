-- name: last_look
-- The newest look of the judge at a generation.
SELECT rollout, number, looked_at, step, weight, acknowledged, observed, counts, e_values,
       verdict, sentence
FROM qafila.look
WHERE workload = %(workload)s
  AND generation = %(generation)s
ORDER BY looked_at DESC
LIMIT 1;
