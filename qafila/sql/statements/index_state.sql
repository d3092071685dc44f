-- name: hnsw_indexes
-- Every HNSW index that begins with this column, and what keeps it from serving cosine search.
SELECT c.relname AS name,
       i.indisvalid AND i.indisready AS valid,
       i.indpred IS NOT NULL AS partial,
       o.opcname::text AS operators
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_am AS m ON m.oid = c.relam
JOIN pg_opclass AS o ON o.oid = i.indclass[0]
JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = to_regclass(%(table)s)
  AND a.attname = %(column)s
  AND m.amname = 'hnsw'
ORDER BY c.relname;

-- name: rows_and_zeros
-- Rows with a vector, and how many of them are zero: no cosine index holds those.
SELECT count({column}),
       count(*) FILTER (WHERE {column} <#> {column} >= 0)
FROM {table};

-- name: values
-- Part of what there is to filter by: single values of the metadata that enough rows share.
SELECT field, value, count(*)
FROM {table} AS t,
     LATERAL jsonb_each({metadata}) AS held (field, value)
WHERE jsonb_typeof(value) IN ('string', 'number', 'boolean')
GROUP BY field, value
HAVING count(*) >= %(at_least)s
ORDER BY count(*) DESC, field, value
LIMIT %(at_most)s;

-- name: count_rows
SELECT count(*)
FROM {table} AS t
WHERE {readable}
  AND {where};
