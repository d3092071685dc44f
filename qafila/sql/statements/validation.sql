-- name: judged_queries
-- Every judgement of {table}, the queries in a stable order.
SELECT query_id, text, relevant, grade
FROM {table}
ORDER BY query_id, relevant;
