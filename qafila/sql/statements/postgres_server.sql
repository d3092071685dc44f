-- name: limit
-- Bound what follows in this transaction, in milliseconds; nothing of the session is changed.
SELECT set_config('statement_timeout', %(statement_ms)s, true),
       set_config('lock_timeout', %(lock_ms)s, true),
       set_config('application_name', 'qafila inventory-audit', true);

-- name: server
-- Version, whether it is a replica, and whether we see the statistics and sessions of everybody.
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::int AS version_number,
       pg_is_in_recovery() AS replica,
       pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees_all,
       current_setting('max_connections')::int AS max_connections;

-- name: databases
-- Every database that is no template; its size where we may know it.
SELECT d.datname AS name,
       d.datallowconn AS open,
       has_database_privilege(d.oid, 'CONNECT') AS may,
       CASE
           WHEN has_database_privilege(d.oid, 'CONNECT')
                OR pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')
           THEN pg_database_size(d.oid)
       END AS size_bytes,
       pg_encoding_to_char(d.encoding) AS encoding
FROM pg_database AS d
WHERE NOT d.datistemplate
ORDER BY d.datname
LIMIT %(limit)s;

-- name: extensions
-- Installed extensions, and whether pgvector could be.
SELECT x.name, x.installed_version AS version
FROM pg_available_extensions AS x
WHERE x.installed_version IS NOT NULL OR x.name = 'vector'
ORDER BY x.name;

-- name: counted_since
-- When the counters of this database began, at the latest, and for how many days. Without a reset
-- of its own the server's are asked: those began with the cluster or with its last crash.
SELECT since, extract(epoch FROM now() - since)::float8 / 86400 AS days
FROM (
    SELECT coalesce(
               (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()),
               least((SELECT stats_reset FROM pg_stat_bgwriter),
                     (SELECT stats_reset FROM pg_stat_archiver))
           ) AS since
) AS began;

-- name: tables
-- The largest tables (partitions added up, as the planner last counted them) and their counters.
SELECT c.oid::bigint AS id,
       n.nspname AS schema,
       c.relname AS name,
       c.relkind::text AS kind,
       parts.unknown,
       parts.rows::bigint AS rows,
       parts.pages::bigint AS pages,
       parts.total_bytes::bigint AS total_bytes,
       parts.toast_bytes::bigint AS toast_bytes,
       parts.inserted::bigint AS inserted,
       parts.deleted::bigint AS deleted,
       has_schema_privilege(n.oid, 'USAGE') AND has_any_column_privilege(c.oid, 'SELECT') AS may,
       row_security_active(c.oid) AS hidden
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT bool_or(p.reltuples < 0 AND pg_relation_size(p.oid) > 0) AS unknown,
           sum(greatest(p.reltuples, 0)) AS rows,
           sum(p.relpages) AS pages,
           sum(pg_total_relation_size(p.oid)) AS total_bytes,
           sum(CASE WHEN p.reltoastrelid = 0 THEN 0 ELSE pg_table_size(p.reltoastrelid) END)
               AS toast_bytes,
           sum(s.n_tup_ins) AS inserted,
           sum(s.n_tup_del) AS deleted
    FROM pg_class AS p
    LEFT JOIN pg_stat_user_tables AS s ON s.relid = p.oid
    WHERE p.relkind IN ('r', 'm')
      AND (p.oid = c.oid OR p.oid IN (SELECT relid FROM pg_partition_tree(c.oid)))
) AS parts
WHERE c.relkind IN ('r', 'm', 'p')
  AND NOT c.relispartition
  AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND n.nspname !~ '^pg_(toast|temp)'
ORDER BY parts.total_bytes DESC NULLS LAST, n.nspname, c.relname
LIMIT %(limit)s;

-- name: columns
-- Columns that hold text, what is searched in text, or vectors, with the planner's statistics.
-- avg_width is the stored width: 18 bytes for a value that lies out of line.
SELECT a.attrelid::bigint AS id,
       a.attname AS name,
       coalesce(b.typname, t.typname) AS type,
       a.atttypmod AS modifier,
       s.null_frac::float8 AS null_share,
       s.avg_width AS width,
       has_column_privilege(a.attrelid, a.attnum, 'SELECT') AS may
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_type AS b ON b.oid = t.typbasetype
LEFT JOIN pg_stats AS s
       ON s.schemaname = n.nspname
      AND s.tablename = c.relname
      AND s.attname = a.attname
      AND s.inherited = (c.relkind = 'p')
WHERE a.attrelid = ANY(%(tables)s::oid[])
  AND a.attnum > 0
  AND NOT a.attisdropped
  AND coalesce(b.typname, t.typname) IN (
      'text', 'varchar', 'bpchar', 'citext', 'json', 'jsonb', 'xml',
      'tsvector', 'vector', 'halfvec', 'sparsevec', '_float4', '_float8')
ORDER BY a.attrelid, a.attnum;

-- name: indexes
-- Indexes for vectors and for words, with their columns; of an expression only what it is for.
SELECT i.indrelid::bigint AS id,
       m.amname AS method,
       pg_relation_size(i.indexrelid) AS size_bytes,
       i.indisvalid AS valid,
       ARRAY(SELECT a.attname::text
             FROM pg_attribute AS a
             WHERE a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
             ORDER BY a.attnum) AS columns,
       pg_get_indexdef(i.indexrelid) ~ 'to_tsvector|tsvector_ops' AS words,
       pg_get_indexdef(i.indexrelid) ~ '_trgm_ops' AS trigrams
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_am AS m ON m.oid = c.relam
WHERE i.indrelid = ANY(%(tables)s::oid[])
  AND m.amname NOT IN ('btree', 'hash', 'brin', 'spgist')
ORDER BY i.indrelid, i.indexrelid;

-- name: clients
-- Sessions of clients by database, address and application; no statement's text, and none of our
-- own (qafila/session_name.py): neither the audit's, of which several look at the same time, nor a
-- load's.
SELECT datname AS database,
       usename AS role,
       host(client_addr) AS address,
       application_name AS application,
       count(*) AS sessions,
       count(*) FILTER (WHERE state = 'active') AS active,
       max(greatest(state_change, query_start)) AS last_seen
FROM pg_stat_activity
WHERE backend_type = 'client backend'
  AND application_name <> 'qafila'
  AND application_name NOT LIKE 'qafila %%'
  AND NOT (usename = current_user AND application_name = current_setting('application_name'))
  AND pid <> pg_backend_pid()
  AND datname IS NOT NULL
GROUP BY datname, usename, client_addr, application_name
ORDER BY datname, usename, client_addr, application_name
LIMIT %(limit)s;
