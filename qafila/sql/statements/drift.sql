-- name: serving_generation
-- The newest generation whose migration ended in service. Reads only.
SELECT number, phase, phase_since
FROM qafila.generation
WHERE workload = %(workload)s
  AND phase IN ('promoted', 'settled', 'cleaned')
ORDER BY number DESC
LIMIT 1;

-- name: paid_this_month
-- What paid calls cost since the month began; an open call counts as expected. Reads only.
SELECT currency, sum(coalesce(actual, expected)) AS spent
FROM qafila.cost_entry
WHERE workload = %(workload)s
  AND entered_at >= %(since)s
GROUP BY currency
ORDER BY currency;

-- name: sample_queries
-- A fixed pseudo-random sample of judged queries, each with all its judgements; {table} is the
-- workload's own. Reads only.
SELECT query_id, text, relevant, grade
FROM {table}
WHERE query_id IN (
    SELECT query_id
    FROM {table}
    GROUP BY query_id
    ORDER BY md5(query_id || %(seed)s)
    LIMIT %(queries)s
)
ORDER BY md5(query_id || %(seed)s), relevant;
