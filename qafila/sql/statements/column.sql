-- name: describe_table
-- What kind of relation the application's table is, and whether we may change it. Takes no lock.
SELECT n.nspname,
       c.relname,
       c.relkind,
       pg_has_role(c.relowner, 'USAGE') AS ours,
       EXISTS (SELECT FROM pg_inherits AS i WHERE c.oid IN (i.inhrelid, i.inhparent)) AS inherits
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = to_regclass(%(table)s);

-- name: describe_columns
-- Name, type, number, NOT NULL, own privileges, default and comment of its columns. Takes no lock.
SELECT a.attname,
       format_type(a.atttypid, a.atttypmod),
       a.attnum,
       a.attnotnull,
       a.attacl IS NOT NULL AS granted,
       a.atthasdef,
       col_description(a.attrelid, a.attnum)
FROM pg_attribute AS a
WHERE a.attrelid = to_regclass(%(table)s)
  AND a.attnum > 0
  AND NOT a.attisdropped
ORDER BY a.attnum;

-- name: unique_keys
-- The column sets, each sorted, that a plain valid unique index keeps unique.
SELECT (SELECT array_agg(a.attname::text ORDER BY a.attname)
        FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
        JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        WHERE k.place <= i.indnkeyatts)
FROM pg_index AS i
WHERE i.indrelid = to_regclass(%(table)s)
  AND i.indisunique
  AND i.indisvalid
  AND i.indimmediate
  AND i.indpred IS NULL
  AND i.indexprs IS NULL
ORDER BY 1;

-- name: dependents
-- Everything but indexes and NOT NULL that is tied to one column by its number, not by its name:
-- it would stay with the old vectors when the columns change names.
SELECT DISTINCT coalesce('view ' || r.ev_class::regclass::text,
                         pg_describe_object(d.classid, d.objid, d.objsubid))
FROM pg_depend AS d
LEFT JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
LEFT JOIN pg_constraint AS c ON d.classid = 'pg_constraint'::regclass AND c.oid = d.objid
LEFT JOIN pg_index AS i ON d.classid = 'pg_class'::regclass AND i.indexrelid = d.objid
WHERE d.refclassid = 'pg_class'::regclass
  AND d.refobjid = to_regclass(%(table)s)
  AND d.refobjsubid = %(number)s
  AND i.indexrelid IS NULL
  AND c.contype IS DISTINCT FROM 'n'
ORDER BY 1;

-- name: publications
-- A subscriber matches columns by name.
SELECT pubname
FROM pg_publication_tables
WHERE schemaname = %(schema)s
  AND tablename = %(name)s
ORDER BY pubname;

-- name: invalid_index
-- A leftover of a build that was interrupted.
SELECT
FROM pg_index AS i
WHERE i.indexrelid = to_regclass(%(index)s)
  AND NOT i.indisvalid;

-- name: has_layout
-- False in a target whose schema is older than this layout.
SELECT to_regclass('qafila.column_generation') IS NOT NULL;

-- name: list_columns
-- All generations of a workload that are columns.
SELECT generation, table_schema, table_name, serving_name, held_as, fingerprint, required
FROM qafila.column_generation
WHERE workload = %(workload)s
ORDER BY generation;

-- name: list_marks
-- Which columns of each generation were marked; none in a target that is older than the marks.
SELECT c.generation,
       ARRAY(SELECT jsonb_array_elements_text(to_jsonb(c) -> 'marked'))
FROM qafila.column_generation AS c
WHERE c.workload = %(workload)s
ORDER BY c.generation;

-- name: mark_column
COMMENT ON COLUMN {table}.{column} IS {mark};

-- name: note_marks
UPDATE qafila.column_generation
SET marked = %(marked)s
WHERE workload = %(workload)s
  AND generation = %(generation)s;

-- name: foreign_index
-- A relation under the name of our index that is no index of our column. Takes no lock.
SELECT
FROM pg_class AS c
WHERE c.oid = to_regclass(%(index)s)
  AND NOT EXISTS (
      SELECT
      FROM pg_index AS i
      JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
      WHERE i.indexrelid = c.oid
        AND i.indrelid = to_regclass(%(table)s)
        AND a.attname = %(column)s);

-- name: lock_columns
-- The same, for a swap; held until its transaction ends.
SELECT generation, table_schema, table_name, serving_name, held_as, fingerprint, required
FROM qafila.column_generation
WHERE workload = %(workload)s
ORDER BY generation
FOR UPDATE;

-- name: other_owner
-- Another workload that swaps the same column.
SELECT workload
FROM qafila.column_generation
WHERE table_schema = %(schema)s
  AND table_name = %(name)s
  AND serving_name = %(column)s
  AND workload <> %(workload)s
ORDER BY workload
LIMIT 1;

-- name: put_column
-- A second time it changes nothing, but for a fingerprint that was unknown.
INSERT INTO qafila.column_generation
    (workload, generation, table_schema, table_name, serving_name, held_as, fingerprint)
VALUES (%(workload)s, %(generation)s, %(schema)s, %(name)s, %(column)s, %(held_as)s,
        %(fingerprint)s)
ON CONFLICT (workload, generation) DO UPDATE
SET fingerprint = coalesce(qafila.column_generation.fingerprint, excluded.fingerprint);

-- name: adopt_column
-- What was there before us becomes a generation whose model is known. A second time: no change.
INSERT INTO qafila.column_generation AS c
    (workload, generation, table_schema, table_name, serving_name, held_as, fingerprint)
VALUES (%(workload)s, %(generation)s, %(schema)s, %(name)s, %(column)s, %(column)s,
        %(fingerprint)s)
ON CONFLICT (table_schema, table_name, held_as) DO UPDATE
SET generation = excluded.generation,
    fingerprint = excluded.fingerprint,
    changed_at = now()
WHERE c.workload = excluded.workload
  AND c.generation = 0;

-- name: hold_as
-- Part of a swap: the column has another name from here on.
UPDATE qafila.column_generation
SET held_as = %(held_as)s,
    required = required OR %(required)s,
    changed_at = now()
WHERE workload = %(workload)s
  AND generation = %(generation)s;

-- name: forget_column
DELETE FROM qafila.column_generation
WHERE workload = %(workload)s
  AND generation = %(generation)s;

-- name: is_required
-- Whether a column is NOT NULL; no row when there is no such column.
SELECT a.attnotnull
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s
  AND c.relname = %(name)s
  AND a.attname = %(column)s
  AND NOT a.attisdropped;

-- name: swap_names
-- Catalog only. The first statement waits at most lock_timeout; the others have the lock.
LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE;
ALTER TABLE {table} RENAME COLUMN {serving} TO {leaves_as};
ALTER TABLE {table} RENAME COLUMN {comes_from} TO {serving};

-- name: allow_null
-- The application does not know the column under its new name, so its rows leave it empty.
ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL;

-- name: add_columns
-- Nullable and without a default: no row is written.
ALTER TABLE {table}
    ADD COLUMN IF NOT EXISTS {column} {type},
    ADD COLUMN IF NOT EXISTS {digest} bytea;

-- name: add_digest
ALTER TABLE {table}
    ADD COLUMN IF NOT EXISTS {digest} bytea;

-- name: drop_columns
-- Catalog only; the room comes back as rows are written anew.
ALTER TABLE {table}
    DROP COLUMN IF EXISTS {column},
    DROP COLUMN IF EXISTS {digest};

-- name: drop_vectors
-- The same where the column under the name of our digests is not ours, or is not there.
ALTER TABLE {table}
    DROP COLUMN IF EXISTS {column};

-- name: create_stage
-- What a batch brings, before it meets the application's rows; this session's alone.
CREATE TEMP TABLE IF NOT EXISTS {stage} ({stage_keys}, digest bytea NOT NULL, embedding {type} NOT NULL)
ON COMMIT DELETE ROWS;

-- name: copy_stage
-- Binary COPY; types are set by the caller.
COPY {stage}
FROM STDIN (FORMAT BINARY);

-- name: apply_stage
-- Only where the row still holds the text that was embedded: a row that is locked is waited for,
-- and asked again as it is then. The stage comes in key order, so rows are locked in key order.
UPDATE {table} AS t
SET {column} = s.embedding,
    {digest} = s.digest
FROM {stage} AS s
WHERE {match}
  AND sha256(convert_to({text}, 'UTF8')) = s.digest
  AND (t.{digest} IS DISTINCT FROM s.digest OR t.{column} IS DISTINCT FROM s.embedding);

-- name: clear_rows
-- Rows that have no chunk any more lose their vector, unless it is that of the present text.
UPDATE {table} AS t
SET {column} = NULL,
    {digest} = NULL
FROM unnest({arrays}) AS s ({names})
WHERE {match}
  AND t.{column} IS NOT NULL
  AND t.{digest} IS DISTINCT FROM sha256(convert_to({text}, 'UTF8'));

-- name: vector_index
-- On a live table: waits for transactions that are open, and nobody waits for it.
CREATE INDEX CONCURRENTLY IF NOT EXISTS {index}
ON {table} USING hnsw ({column} {operators}) WITH (m = {m}, ef_construction = {ef_construction});

-- name: drop_index
-- Outside a transaction.
DROP INDEX CONCURRENTLY IF EXISTS {index};

-- name: indexes_of_column
-- Every index that a column is in; dropping the column would drop them while all others wait.
SELECT n.nspname, c.relname
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
WHERE i.indrelid = to_regclass(%(table)s)
  AND a.attname = %(column)s
  AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = i.indexrelid)
ORDER BY 1, 2;

-- name: count_vectors
SELECT count({column})
FROM {table};

-- name: digests_of
SELECT {key}, t.{digest}
FROM {table} AS t
WHERE ({columns}) IN (SELECT * FROM unnest({arrays}))
  AND t.{column} IS NOT NULL
  AND t.{digest} IS NOT NULL
ORDER BY {columns};

-- name: sample_own
-- Text and vector, as the application has them.
SELECT {text}, t.{column}
FROM {table} AS t
WHERE t.{column} IS NOT NULL
ORDER BY {columns}
LIMIT {limit};

-- name: scan
-- In the order of the table's key; pages by key.
SELECT {key}, {title}, {text}, t.{digest}, {acl}, {metadata}, t.{column}
FROM {table} AS t
WHERE t.{column} IS NOT NULL
  AND {beyond}
ORDER BY {columns}
LIMIT {limit};

-- name: nearest
-- By the index or, with index scans off, by looking at every row: the same question.
SELECT {key}, 1 - (t.{column} <=> %(vector)s) AS score
FROM {table} AS t
WHERE {readable}
  AND {where}
  AND t.{column} IS NOT NULL
ORDER BY t.{column} <=> %(vector)s
LIMIT %(k)s;

-- name: visible
-- By the same condition as in nearest.
SELECT {key}
FROM {table} AS t
WHERE ({columns}) IN (SELECT * FROM unnest({named_arrays}))
  AND {readable}
  AND t.{column} IS NOT NULL;

-- name: holders
-- Who holds the table at this moment, the oldest transaction first; not what they asked.
SELECT a.pid,
       coalesce(nullif(a.application_name, ''), a.backend_type) AS name,
       coalesce(extract(epoch FROM now() - a.xact_start), 0)::float AS seconds
FROM pg_locks AS l
JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.relation = to_regclass(%(table)s)
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.granted
  AND l.pid <> pg_backend_pid()
ORDER BY a.xact_start
LIMIT 3;
