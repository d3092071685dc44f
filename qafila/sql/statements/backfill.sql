-- name: insert_shard
-- Part of applying a plan; the first plan stays. After a reload the epoch is above all before it.
INSERT INTO qafila.shard
       (workload, generation, number, low_key, high_key, rows_planned, epoch, tokens, cost)
VALUES (%(workload)s, %(generation)s, %(number)s, %(low)s, %(high)s, %(rows)s, %(epoch)s,
        %(tokens)s, %(cost)s)
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
    heartbeat = clock_timestamp(),
    error = NULL,
    waits_for = ''
WHERE (workload, generation, number) = (
    SELECT workload, generation, number
    FROM qafila.shard
    WHERE workload = %(workload)s
      AND generation = %(generation)s
      AND (%(number)s::integer IS NULL OR number = %(number)s)
      AND number <> ALL (%(except)s)
      AND (state = 'planned'
           OR (state = 'claimed'
               AND heartbeat + make_interval(secs => %(ttl)s) < clock_timestamp()))
    ORDER BY number
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING number, low_key, high_key, rows_planned, rows_loaded, state, owner, owner_pid, epoch;

-- name: left_to_load
-- What no worker has loaded yet, also what others hold.
SELECT count(*)
FROM qafila.shard
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND state <> 'loaded';

-- name: beat_shard
-- Progress and a sign of life; no row when somebody else claimed the shard.
UPDATE qafila.shard
SET rows_loaded = %(rows)s,
    chunks_loaded = %(chunks)s,
    copied = copied + %(copied)s,
    reused = reused + %(reused)s,
    embedded = embedded + %(embedded)s,
    tokens = tokens + %(tokens)s,
    cost = cost + %(cost)s,
    heartbeat = clock_timestamp(),
    state = CASE WHEN %(finished)s THEN 'loaded' ELSE state END
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND number = %(number)s
  AND epoch = %(epoch)s
RETURNING number;

-- name: release_shard
-- Given back by a worker that stops or fails, with the reason; its checkpoint stays in the target.
UPDATE qafila.shard
SET state = 'planned',
    error = %(error)s
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND number = %(number)s
  AND epoch = %(epoch)s
  AND state = 'claimed';

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
-- Before the generation is emptied: whatever stops us then, all of it is loaded again.
UPDATE qafila.shard
SET state = 'planned',
    rows_loaded = 0,
    chunks_loaded = 0,
    copied = 0,
    reused = 0,
    embedded = 0,
    owner = NULL,
    owner_pid = NULL,
    owner_run = NULL,
    heartbeat = NULL,
    error = NULL
WHERE workload = %(workload)s
  AND generation = %(generation)s;

-- name: forget_shards
-- Part of a reload: until it commits no shard can be claimed, and those that come begin above the
-- epochs of these.
DELETE FROM qafila.shard
WHERE workload = %(workload)s
  AND generation = %(generation)s
RETURNING epoch, tokens, cost;

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
    recorded_at = now(),
    replayed_at = NULL;

-- name: dead_letters
SELECT source_key, chunk_number, reason
FROM qafila.dead_letter
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND replayed_at IS NULL
ORDER BY source_key, chunk_number;

-- name: load_progress
-- One row: how far a load is, from its shards.
SELECT count(*) AS shards,
       count(*) FILTER (WHERE state = 'loaded') AS shards_loaded,
       count(*) FILTER (WHERE state = 'claimed') AS shards_claimed,
       coalesce(sum(rows_planned), 0)::bigint AS rows_planned,
       coalesce(sum(rows_loaded), 0)::bigint AS rows_loaded,
       coalesce(sum(chunks_loaded), 0)::bigint AS chunks_loaded,
       coalesce(sum(copied), 0)::bigint AS copied,
       coalesce(sum(reused), 0)::bigint AS reused,
       coalesce(sum(embedded), 0)::bigint AS embedded,
       coalesce(sum(tokens), 0)::bigint AS tokens,
       coalesce(sum(cost), 0) AS cost,
       (SELECT count(*)
        FROM qafila.dead_letter AS d
        WHERE d.workload = %(workload)s
          AND d.generation = %(generation)s
          AND d.replayed_at IS NULL) AS dead_letters,
       string_agg(error, '; ' ORDER BY number) FILTER (WHERE error IS NOT NULL) AS errors,
       coalesce(string_agg(DISTINCT waits_for, '; ')
                    FILTER (WHERE state = 'claimed' AND waits_for <> ''), '') AS waits_for
FROM qafila.shard
WHERE workload = %(workload)s
  AND generation = %(generation)s;

-- name: hold_load
-- The right to coordinate a load: taken when nobody has it, its holder is silent, or by force.
INSERT INTO qafila.load AS l
       (workload, generation, holder, holder_pid, holder_run, epoch, heartbeat)
VALUES (%(workload)s, %(generation)s, %(holder)s, %(pid)s, %(run)s, 1, clock_timestamp())
ON CONFLICT (workload, generation) DO UPDATE
SET holder = excluded.holder,
    holder_pid = excluded.holder_pid,
    holder_run = excluded.holder_run,
    epoch = l.epoch + 1,
    heartbeat = excluded.heartbeat,
    state = 'running',
    speed = 1,
    health_speed = 1,
    health_reason = '',
    reason = '',
    changed_by = '',
    changed_at = clock_timestamp()
WHERE l.holder IS NULL
   OR l.heartbeat + make_interval(secs => %(ttl)s) < clock_timestamp()
   OR (l.holder = %(holder)s AND NOT l.holder_pid = ANY (%(alive)s))
RETURNING epoch;

-- name: beat_load
-- The coordinator's sign of life, and what it concludes from the databases' health. No row:
-- somebody took over.
UPDATE qafila.load
SET heartbeat = clock_timestamp(),
    health_speed = %(health_speed)s,
    health_reason = %(health_reason)s
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND epoch = %(epoch)s
RETURNING state, speed, reason, changed_by, health_speed, health_reason;

-- name: leave_load
UPDATE qafila.load
SET holder = NULL,
    holder_pid = NULL,
    holder_run = NULL
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND epoch = %(epoch)s;

-- name: read_load
SELECT state, speed, reason, changed_by, health_speed, health_reason, holder, holder_pid, holder_run, epoch,
       extract(epoch FROM clock_timestamp() - heartbeat)::double precision AS age_seconds
FROM qafila.load
WHERE workload = %(workload)s
  AND generation = %(generation)s;

-- name: ask_of_load
-- Pause, go on, stop or slow down; who asked and why stay with it.
UPDATE qafila.load
SET state = coalesce(%(state)s, state),
    speed = coalesce(%(speed)s, speed),
    reason = %(reason)s,
    changed_by = %(by)s,
    changed_at = clock_timestamp()
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND (%(epoch)s::bigint IS NULL OR epoch = %(epoch)s)
RETURNING state;

-- name: beat_worker
-- A worker's sign of life for the shard it holds, several times a second, with what it waits for,
-- and what is asked of it.
-- The claim is another worker's when ``mine`` is false; nobody coordinates when ``led`` is.
WITH beaten AS (
    UPDATE qafila.shard
    SET heartbeat = clock_timestamp(),
        waits_for = %(waits_for)s
    WHERE workload = %(workload)s
      AND generation = %(generation)s
      AND number = %(number)s
      AND epoch = %(epoch)s
      AND state = 'claimed'
    RETURNING number
)
SELECT l.state, least(l.speed, l.health_speed) AS speed, l.reason,
       coalesce(l.heartbeat + make_interval(secs => %(ttl)s) > clock_timestamp(), false)
           AND l.holder IS NOT NULL AS led,
       l.epoch AS load_epoch,
       %(number)s::integer IS NULL OR EXISTS (SELECT FROM beaten) AS mine
FROM qafila.load AS l
WHERE l.workload = %(workload)s
  AND l.generation = %(generation)s;
