-- name: extension_version
-- Version of pgvector in this database, if it is there.
SELECT extversion
FROM pg_extension
WHERE extname = 'vector';

-- name: create_generation
-- {table} is ours alone; nothing reads it before the pointer row names it.
CREATE TABLE IF NOT EXISTS {table} (
    source_key text NOT NULL,
    chunk_number integer NOT NULL,
    start_offset integer NOT NULL,
    end_offset integer NOT NULL,
    title text NOT NULL,
    text text NOT NULL,
    text_digest bytea NOT NULL,
    acl text[] NOT NULL,
    metadata jsonb NOT NULL,
    fingerprint text NOT NULL,
    generation integer NOT NULL,
    embedding {type}({dimensions}) NOT NULL
    {lexemes}
) {storage};

-- name: inline_storage
-- Part of create_generation: rows of up to a page stay whole. Else PostgreSQL moves the vector of a
-- row over 2 kB into a table beside it, whose one index all writers queue at.
WITH (toast_tuple_target = 8160)

-- name: lexeme_column
-- Part of create_generation; {config} is one of PostgreSQL's own text search configurations. A
-- tsvector holds 1 MB, and a word of few bytes takes up to five a letter there (with its parts,
-- where it has a hyphen), so what is indexed of a very long text ends where no text can exceed it.
, lexemes tsvector GENERATED ALWAYS AS (
    setweight(to_tsvector({config}, left(title, 2000)), 'A')
    || setweight(to_tsvector({config}, left(text,
        CASE WHEN octet_length(left(text, 200000)) <= 400000 THEN 200000 ELSE 80000 END)), 'B')
) STORED

-- name: claim_shard
-- Raise the fence: an older epoch's open transaction is waited for, its later ones match no row.
INSERT INTO qafila.checkpoint (workload, generation, shard, fingerprint, epoch)
VALUES (%(workload)s, %(generation)s, %(shard)s, %(fingerprint)s, %(epoch)s)
ON CONFLICT (workload, generation, shard) DO UPDATE
SET epoch = excluded.epoch
WHERE qafila.checkpoint.epoch < excluded.epoch
  AND qafila.checkpoint.fingerprint = excluded.fingerprint
RETURNING last_key, rows_done, chunks_done, finished;

-- name: read_checkpoint
-- For the sentence of a refusal.
SELECT epoch, fingerprint
FROM qafila.checkpoint
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND shard = %(shard)s;

-- name: move_checkpoint
-- First statement of every batch: locks the row, and matches nothing once the epoch is stale.
UPDATE qafila.checkpoint
SET last_key = %(last_key)s,
    rows_done = %(rows)s,
    chunks_done = %(chunks)s,
    finished = %(finished)s,
    written_at = now()
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND shard = %(shard)s
  AND epoch = %(epoch)s
RETURNING shard;

-- name: wait_for_disk
-- Before the last checkpoint of a shard, which the ledger relies on: this commit reaches the disk,
-- and all before it do, though the database or the role may say that none need wait.
SELECT set_config('synchronous_commit', 'local', true)
WHERE current_setting('synchronous_commit') = 'off';

-- name: copy_chunks
-- Binary COPY; {columns} in the order in which qafila/stores/pgvector/copy.py packs them.
COPY {table} ({columns})
FROM STDIN (FORMAT BINARY);

-- name: unique_key
-- Twice the same chunk makes this fail: "no row twice" is a fact of the schema.
CREATE UNIQUE INDEX IF NOT EXISTS {index}
ON {table} (source_key, chunk_number);

-- name: lexeme_index
CREATE INDEX IF NOT EXISTS {index}
ON {table} USING gin (lexemes);

-- name: vector_index
-- After the load, with memory that fits; nobody reads the table yet, so not concurrently. Locks out
-- live sync, which waits.
CREATE INDEX IF NOT EXISTS {index}
ON {table} USING hnsw (embedding {opclass}) WITH (m = {m}, ef_construction = {ef_construction});

-- name: invalid_index
-- A row when the index is there and was left unfinished.
SELECT
FROM pg_index
WHERE indexrelid = to_regclass(%(index)s)
  AND NOT indisvalid;

-- name: drop_index
-- Only what invalid_index found: no query uses it, every write pays for it.
DROP INDEX IF EXISTS {index};

-- name: build_settings
-- What the server allows an index build: its own workers, and whether they share memory as files.
SELECT current_setting('max_parallel_workers')::integer,
       current_setting('max_parallel_maintenance_workers')::integer,
       current_setting('dynamic_shared_memory_type');

-- name: count_chunks
SELECT count(*)
FROM {table};

-- name: repeated_chunks
SELECT coalesce(sum(times - 1), 0)
FROM (
    SELECT count(*) AS times
    FROM {table}
    GROUP BY source_key, chunk_number
    HAVING count(*) > 1
) AS repeated;

-- name: digests_of
SELECT source_key, chunk_number, text_digest, fingerprint
FROM {table}
WHERE source_key = ANY(%(keys)s);

-- name: nearest
-- By the index or, with index scans off, by looking at every row: the same question.
SELECT source_key, chunk_number, 1 - (embedding <=> %(vector)b::{type}) AS score
FROM {table}
WHERE {readable}
  AND {where}
ORDER BY embedding <=> %(vector)b::{type}
LIMIT %(k)s;

-- name: visible
-- By the same condition as in nearest.
SELECT source_key, chunk_number
FROM {table}
WHERE source_key = ANY(%(keys)s)
  AND {readable};

-- name: find_table
-- No row when there is no such table.
SELECT
WHERE to_regclass(%(name)s) IS NOT NULL;

-- name: lock_generation
LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE;

-- name: drop_generation
DROP TABLE IF EXISTS {table};

-- name: forget_checkpoints
DELETE FROM qafila.checkpoint
WHERE workload = %(workload)s
  AND generation = %(generation)s;

-- name: claim_sync
-- Raise the fence of live sync; an older epoch matches no row afterwards.
INSERT INTO qafila.sync_mark (workload, generation, epoch)
VALUES (%(workload)s, %(generation)s, %(epoch)s)
ON CONFLICT (workload, generation) DO UPDATE
SET epoch = excluded.epoch
WHERE qafila.sync_mark.epoch < excluded.epoch
RETURNING position;

-- name: move_sync
-- First statement of every application of changes: locks the row, matches nothing once stale.
UPDATE qafila.sync_mark
SET position = %(position)s,
    written_at = now()
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND epoch = %(epoch)s
RETURNING position;

-- name: forget_sync
DELETE FROM qafila.sync_mark
WHERE workload = %(workload)s
  AND generation = %(generation)s;

-- name: delete_documents
DELETE FROM {table}
WHERE source_key = ANY(%(keys)s);

-- name: scan
-- By the unique key, in the order of the database's collation; pages by key.
SELECT source_key, chunk_number, start_offset, end_offset, title, text, text_digest, acl, metadata,
       embedding
FROM {table}
WHERE (source_key, chunk_number) > (%(after)s, %(number)s)
ORDER BY source_key, chunk_number
LIMIT %(limit)s;

-- name: lock_checkpoint
-- Before a copy whose last key is not known yet: locks the row, matches nothing once the epoch is
-- stale. The checkpoint moves by move_checkpoint in the same transaction.
SELECT shard
FROM qafila.checkpoint
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND shard = %(shard)s
  AND epoch = %(epoch)s
FOR UPDATE;

-- name: copy_out
-- A range of an existing table in the order of {key}, as the rows that copy_chunks reads. A row that
-- cannot be copied comes with a NULL vector and its reason in place of the title; metadata are NULL
-- where jsonb cannot hold them.
COPY (
    SELECT CASE WHEN reason IS NULL AND metadata IS NOT NULL THEN embedding::{type} END,
           digest,
           {generation}::integer,
           {fingerprint}::text,
           chunk_number::integer,
           start_offset::integer,
           end_offset::integer,
           source_key,
           coalesce(reason, CASE WHEN metadata IS NULL THEN {no_jsonb} END, title, ''),
           coalesce(text, ''),
           coalesce(acl, {everybody}::text[]),
           metadata
    FROM (
        SELECT {source_key} AS source_key,
               {number} AS chunk_number,
               {start} AS start_offset,
               {end} AS end_offset,
               {digest} AS digest,
               {text} AS text,
               {title} AS title,
               {acl} AS acl,
               {metadata} AS metadata,
               {embedding} AS embedding,
               CASE
                   WHEN {no_text} THEN 'it has no text'
                   WHEN {embedding} IS NULL THEN 'it has no vector'
                   WHEN vector_dims({embedding}) <> {dimensions}
                       THEN 'its vector has ' || vector_dims({embedding}) || ' dimensions'
                   WHEN {embedding} <#> {embedding} >= 0
                       THEN 'its vector is zero, which no cosine search can find'
                   WHEN octet_length({source_key}) > {key_bytes}
                       THEN 'its key has ' || octet_length({source_key}) || ' bytes'
               END AS reason
        FROM {rows}
        WHERE {where}
        ORDER BY {key}
    ) AS batch
) TO STDOUT (FORMAT BINARY);

-- name: may_create
-- Whether the schema is there, and whether this role may create in it, or it.
SELECT quote_ident(current_user), quote_ident(current_database()), to_regnamespace('qafila') IS NOT NULL,
       CASE WHEN to_regnamespace('qafila') IS NULL
            THEN has_database_privilege(current_database(), 'CREATE')
            ELSE has_schema_privilege('qafila', 'CREATE')
       END;
