-- name: extension
-- Version of pgvector and the schema that its types live in; no row when it is not installed.
SELECT e.extversion, n.nspname
FROM pg_extension AS e
JOIN pg_namespace AS n ON n.oid = e.extnamespace
WHERE e.extname = 'vector';

-- name: server
-- What sets the frame: server, shared_buffers in bytes, and the default of hnsw.ef_search.
SELECT current_setting('server_version') AS version,
       (SELECT setting::bigint * 8192 FROM pg_settings WHERE name = 'shared_buffers') AS memory_bytes,
       current_setting('hnsw.ef_search', true) AS ef_search,
       current_setting('ivfflat.probes', true) AS probes,
       (SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'logical') AS slots;

-- name: candidates
-- Every column of a vector type in tables that the reader may see; our own catalogue is left out.
SELECT format('%I.%I', n.nspname, c.relname) AS name,
       a.attname AS vector,
       t.typname AS vector_type,
       c.reltuples::bigint AS rows
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_type AS t ON t.oid = a.atttypid
WHERE t.typname IN ('vector', 'halfvec', 'sparsevec')
  AND c.relkind IN ('r', 'p', 'm')
  AND NOT c.relispartition
  AND NOT a.attisdropped
  AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND n.nspname !~ '^pg_(toast|temp)'
  AND has_table_privilege(c.oid, 'SELECT')
ORDER BY n.nspname, c.relname, a.attnum;

-- name: table
-- One table, its kind and sizes (partitions added up), and whether policies hide rows from us.
SELECT c.oid,
       format('%%I.%%I', n.nspname, c.relname) AS name,
       n.nspname AS schema,
       c.relkind::text AS kind,
       row_security_active(c.oid) AS hidden,
       (SELECT coalesce(sum(pg_table_size(p.oid)), 0)::bigint
        FROM pg_class AS p
        WHERE p.oid = c.oid OR p.oid IN (SELECT relid FROM pg_partition_tree(c.oid))) AS table_bytes,
       (SELECT coalesce(sum(pg_indexes_size(p.oid)), 0)::bigint
        FROM pg_class AS p
        WHERE p.oid = c.oid OR p.oid IN (SELECT relid FROM pg_partition_tree(c.oid))) AS index_bytes,
       pg_relation_size(c.oid, 'main') AS heap_bytes
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = to_regclass(%(table)s);

-- name: columns
-- Name, type, whether NULL is allowed, and the mean width that the planner knows.
SELECT a.attname AS name,
       format_type(a.atttypid, NULL) AS type,
       t.typname AS base,
       a.atttypmod AS modifier,
       a.attnotnull AS required,
       coalesce((SELECT max(s.avg_width)
                 FROM pg_stats AS s
                 JOIN pg_class AS c ON c.oid = a.attrelid
                 JOIN pg_namespace AS n ON n.oid = c.relnamespace
                 WHERE s.schemaname = n.nspname
                   AND s.tablename = c.relname
                   AND s.attname = a.attname), 0) AS width
FROM pg_attribute AS a
JOIN pg_type AS t ON t.oid = a.atttypid
WHERE a.attrelid = %(oid)s
  AND a.attnum > 0
  AND NOT a.attisdropped
ORDER BY a.attnum;

-- name: keys
-- Unique indexes over plain columns that are all NOT NULL: the primary key first, then the shortest.
SELECT array_agg(a.attname::text ORDER BY k.place) AS columns, i.indisprimary AS is_primary
FROM pg_index AS i
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = %(oid)s
  AND i.indisunique
  AND i.indisvalid
  AND i.indpred IS NULL
  AND i.indexprs IS NULL
  AND k.place <= i.indnkeyatts
GROUP BY i.indexrelid, i.indisprimary
HAVING bool_and(a.attnotnull)
ORDER BY i.indisprimary DESC, count(*), i.indexrelid;

-- name: vector_indexes
-- Indexes of pgvector's kinds on this column, also through an expression, partitions' included.
SELECT format('%%I.%%I', n.nspname, c.relname) AS name,
       m.amname AS kind,
       o.opcname AS operators,
       i.indisvalid AND i.indisready AS valid,
       coalesce(c.reloptions, '{}') AS settings,
       pg_relation_size(c.oid) AS size_bytes,
       s.idx_scan AS scans,
       coalesce(pg_get_expr(i.indpred, i.indrelid), '') AS partial
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_am AS m ON m.oid = c.relam
JOIN pg_opclass AS o ON o.oid = i.indclass[0]
LEFT JOIN pg_stat_all_indexes AS s ON s.indexrelid = i.indexrelid
WHERE i.indrelid = %(oid)s
  AND m.amname IN ('hnsw', 'ivfflat', 'diskann', 'vchordrq')
  AND (i.indkey[0] = (SELECT attnum
                      FROM pg_attribute
                      WHERE attrelid = %(oid)s AND attname = %(vector)s)
       OR (i.indkey[0] = 0
           AND pg_get_indexdef(i.indexrelid) LIKE '%%' || %(vector)s || '%%'))
ORDER BY c.relname;

-- name: indexed_columns
-- Columns that lead an index of any kind.
SELECT DISTINCT a.attname::text
FROM pg_index AS i
JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = %(oid)s
  AND i.indisvalid;

-- name: health
-- Dead and live rows, reads of the whole table, and whether it was ever analysed.
SELECT coalesce(sum(s.n_dead_tup), 0)::bigint AS dead_rows,
       coalesce(sum(s.n_live_tup), 0)::bigint AS live_rows,
       coalesce(sum(s.seq_scan), 0)::bigint AS full_reads,
       bool_and(s.last_analyze IS NOT NULL OR s.last_autoanalyze IS NOT NULL) AS analysed
FROM pg_stat_all_tables AS s
WHERE s.relid = %(oid)s
   OR s.relid IN (SELECT relid FROM pg_partition_tree(%(oid)s));

-- name: tracking
-- Triggers of people (not of foreign keys) and publications that carry the table's changes.
SELECT 'trigger ' || t.tgname AS what
FROM pg_trigger AS t
WHERE t.tgrelid = %(oid)s
  AND NOT t.tgisinternal
  AND t.tgenabled <> 'D'
UNION ALL
SELECT 'publication ' || p.pubname
FROM pg_publication_tables AS p
JOIN pg_class AS c ON c.oid = %(oid)s
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE p.schemaname = n.nspname
  AND p.tablename = c.relname
ORDER BY what;

-- name: langchain_parts
-- Collections in LangChain's shared table with their rows.
SELECT coalesce(c.name, e.collection_id::text, 'none') AS part, count(*) AS rows
FROM {table} AS e
LEFT JOIN {collections} AS c ON c.uuid = e.collection_id
GROUP BY 1
ORDER BY 2 DESC, 1;

-- name: count_rows
-- One pass over the table that fetches no vector and no long text: both are stored apart.
SELECT count(*) AS rows,
       count(*) FILTER (WHERE {vector} IS NULL) AS null_vectors,
       count(*) FILTER (WHERE {no_text}) AS missing_texts
FROM {table};

-- name: lengths
-- How many vectors have which stored size, with one of each: the length of all of them, counted
-- without fetching them. A size can mean two lengths (in the row or beside it), so one is looked at.
WITH sizes AS (
    SELECT count(*) AS qafila_rows, min(ctid) AS qafila_place
    FROM {table}
    WHERE {vector} IS NOT NULL
    GROUP BY pg_column_size({vector})
    LIMIT 50
)
SELECT s.qafila_rows AS rows, t.{vector} AS vector, {key} AS key
FROM sizes AS s
JOIN {table} AS t ON t.ctid = s.qafila_place;

-- name: sample
-- Rows to look at: all of them, or a sample that the caller chose. Columns are text or binary.
SELECT {key} AS key, {vector} AS vector, {text} AS text, {model} AS model, {elsewhere} AS elsewhere
FROM {table} {sample};
