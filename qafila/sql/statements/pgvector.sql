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
    embedding vector({dimensions}) NOT NULL,
    lexemes tsvector GENERATED ALWAYS AS (
        setweight(to_tsvector('english', title), 'A')
        || setweight(to_tsvector('english', left(text, 200000)), 'B')
    ) STORED
);

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

-- name: copy_chunks
-- Binary COPY; types are set by the caller.
COPY {table} (source_key, chunk_number, start_offset, end_offset, title, text, text_digest, acl,
              metadata, fingerprint, generation, embedding)
FROM STDIN (FORMAT BINARY);

-- name: unique_key
-- Twice the same chunk makes this fail: "no row twice" is a fact of the schema.
CREATE UNIQUE INDEX IF NOT EXISTS {index}
ON {table} (source_key, chunk_number);

-- name: lexeme_index
CREATE INDEX IF NOT EXISTS {index}
ON {table} USING gin (lexemes);

-- name: vector_index
-- After the load, with memory that fits; nobody reads the table yet, so not concurrently.
CREATE INDEX IF NOT EXISTS {index}
ON {table} USING hnsw (embedding vector_cosine_ops) WITH (m = 16, ef_construction = 64);

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
SELECT source_key, chunk_number, 1 - (embedding <=> %(vector)s) AS score
FROM {table}
WHERE acl && %(groups)s
ORDER BY embedding <=> %(vector)s
LIMIT %(k)s;

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
