-- name: insert_shard
-- Part of applying a plan; the first plan stays.
INSERT INTO qafila.shard (workload, generation, number, low_key, high_key, rows_planned)
VALUES (%(workload)s, %(generation)s, %(number)s, %(low)s, %(high)s, %(rows)s)
ON CONFLICT (workload, generation, number) DO NOTHING;

-- name: list_shards
SELECT number, low_key, high_key, rows_planned, rows_loaded, state, owner, owner_pid, epoch
FROM qafila.shard
WHERE workload = %(workload)s
  AND generation = %(generation)s
ORDER BY number;

-- name: claim_shard
-- One shard for one worker: skips what another transaction is claiming, takes what is planned,
-- or claimed without a sign of life. The epoch rises with every claim.
UPDATE qafila.shard
SET state = 'claimed',
    owner = %(owner)s,
    owner_pid = %(pid)s,
    owner_run = %(run)s,
    epoch = epoch + 1,
    heartbeat = clock_timestamp()
WHERE (workload, generation, number) = (
    SELECT workload, generation, number
    FROM qafila.shard
    WHERE workload = %(workload)s
      AND generation = %(generation)s
      AND number = %(number)s
      AND (state = 'planned'
           OR (state = 'claimed'
               AND heartbeat + make_interval(secs => %(ttl)s) < clock_timestamp()))
    FOR UPDATE SKIP LOCKED
)
RETURNING epoch;

-- name: beat_shard
-- Progress and a sign of life; no row when somebody else claimed the shard.
UPDATE qafila.shard
SET rows_loaded = %(rows)s,
    heartbeat = clock_timestamp(),
    state = CASE WHEN %(finished)s THEN 'loaded' ELSE state END
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND number = %(number)s
  AND epoch = %(epoch)s
RETURNING number;

-- name: claimed_here
-- Shards claimed from this machine, so that those of dead processes can be let go.
SELECT number, owner_pid
FROM qafila.shard
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND state = 'claimed'
  AND owner = %(owner)s;

-- name: let_go
-- The fence in the target makes this safe even when the process was alive after all.
UPDATE qafila.shard
SET state = 'planned'
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND number = %(number)s
  AND state = 'claimed'
  AND owner_pid = %(pid)s;

-- name: plan_again
-- After the generation was emptied. Ranges stay frozen and epochs stay high, so that a worker of
-- before is fenced off.
UPDATE qafila.shard
SET state = 'planned',
    rows_loaded = 0,
    owner = NULL,
    owner_pid = NULL,
    owner_run = NULL,
    heartbeat = NULL
WHERE workload = %(workload)s
  AND generation = %(generation)s;

-- name: forget_dead_letters
DELETE FROM qafila.dead_letter
WHERE workload = %(workload)s
  AND generation = %(generation)s;

-- name: put_dead_letter
-- Written before the batch commits; a second pass writes the same row.
INSERT INTO qafila.dead_letter (workload, generation, source_key, chunk_number, reason)
VALUES (%(workload)s, %(generation)s, %(source_key)s, %(number)s, %(reason)s)
ON CONFLICT (workload, generation, source_key, chunk_number) DO UPDATE
SET reason = excluded.reason,
    recorded_at = now();

-- name: dead_letters
SELECT source_key, chunk_number, reason
FROM qafila.dead_letter
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND replayed_at IS NULL
ORDER BY source_key, chunk_number;
