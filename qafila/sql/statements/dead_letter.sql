-- name: list_dead_letters
SELECT source_key, chunk_number, reason, attempts, recorded_at, replayed_at
FROM qafila.dead_letter
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND (replayed_at IS NULL OR %(replayed)s)
ORDER BY source_key, chunk_number;

-- name: documents_to_replay
-- The next documents with something that was set aside, by key.
SELECT DISTINCT source_key
FROM qafila.dead_letter
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND replayed_at IS NULL
  AND source_key > %(after)s
ORDER BY source_key
LIMIT %(limit)s;

-- name: set_aside_again
-- Before the document is written, so that a crash in between leaves a stated gap, never a silent
-- one.
INSERT INTO qafila.dead_letter AS d (workload, generation, source_key, chunk_number, reason)
VALUES (%(workload)s, %(generation)s, %(source_key)s, %(number)s, %(reason)s)
ON CONFLICT (workload, generation, source_key, chunk_number) DO UPDATE
SET reason = excluded.reason,
    recorded_at = now(),
    replayed_at = NULL,
    attempts = d.attempts + 1;

-- name: mark_replayed
-- After the documents are written: everything of them is in, but what was set aside again.
UPDATE qafila.dead_letter AS d
SET replayed_at = now(),
    attempts = attempts + 1
WHERE d.workload = %(workload)s
  AND d.generation = %(generation)s
  AND d.source_key = ANY (%(keys)s::text[])
  AND d.replayed_at IS NULL
  AND NOT EXISTS (
      SELECT
      FROM unnest(%(again_keys)s::text[], %(again_numbers)s::integer[]) AS again (key, number)
      WHERE again.key = d.source_key
        AND again.number = d.chunk_number
  );

-- name: not_loaded
SELECT count(*) FILTER (WHERE state <> 'loaded'), count(*)
FROM qafila.shard
WHERE workload = %(workload)s
  AND generation = %(generation)s;

-- name: epoch_now
-- Above every epoch of before: those of live sync begin at the time as well.
SELECT extract(epoch FROM clock_timestamp())::bigint;
