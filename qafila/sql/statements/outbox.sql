-- name: server
-- Whose transaction numbers these are, and whether it takes writes.
SELECT current_setting('server_version_num')::integer,
       pg_is_in_recovery(),
       has_database_privilege(current_database(), 'CREATE'),
       current_database(),
       (SELECT coalesce(array_agg(pubname::text ORDER BY pubname), '{}')
        FROM pg_publication
        WHERE puballtables);

-- name: table_to_follow
-- What the table is, whether it is ours to change, and triggers and children that stand in the way.
-- Takes no lock.
SELECT c.relkind::text,
       c.relpersistence::text,
       pg_has_role(c.relowner, 'USAGE'),
       pg_get_userbyid(c.relowner),
       EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhparent = c.oid),
       (SELECT coalesce(array_agg(t.tgname::text ORDER BY t.tgname), '{}')
        FROM pg_trigger AS t
        WHERE t.tgrelid = c.oid
          AND t.tgname = ANY (%(triggers)s))
FROM pg_class AS c
WHERE c.oid = to_regclass(%(table)s);

-- name: key_types
-- Types of the key's columns without their length; an array's is that of its elements.
SELECT a.attname, coalesce(e.typname, t.typname)::text
FROM pg_attribute AS a
JOIN pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_type AS e ON e.typarray = t.oid
WHERE a.attrelid = to_regclass(%(table)s)
  AND a.attname = ANY (%(key)s)
  AND NOT a.attisdropped;

-- name: read_capture
-- What is installed: the comment on our schema, and whether each trigger on the table is ours and
-- fires always. No row: there is no such schema.
SELECT obj_description(n.oid, 'pg_namespace'),
       (SELECT count(*)
        FROM pg_trigger AS t
        JOIN pg_proc AS p ON p.oid = t.tgfoid
        WHERE p.pronamespace = n.oid
          AND t.tgrelid = to_regclass(%(table)s)
          AND t.tgenabled = 'A'
          AND t.tgname = ANY (%(triggers)s)),
       to_regclass(%(outbox)s) IS NOT NULL
FROM pg_namespace AS n
WHERE n.nspname = %(schema)s;

-- name: triggers_of
-- Every trigger that calls our function, wherever its table is by now; clones on partitions go
-- with their parent's.
SELECT s.nspname, c.relname, t.tgname
FROM pg_trigger AS t
JOIN pg_class AS c ON c.oid = t.tgrelid
JOIN pg_namespace AS s ON s.oid = c.relnamespace
JOIN pg_proc AS p ON p.oid = t.tgfoid
JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname = %(schema)s
  AND t.tgparentid = 0
ORDER BY s.nspname, c.relname, t.tgname;

-- name: moment
-- What is committed now, and on which server and timeline. Takes no lock.
SELECT pg_current_snapshot()::text,
       (SELECT system_identifier::text FROM pg_control_system()),
       substring(pg_walfile_name(pg_current_wal_lsn()), 1, 8);

-- name: flush
-- Makes durable all that a snapshot taken before shows: the commit waits for the log up to here.
-- Otherwise a crash could give numbers that the snapshot calls over to new transactions.
SELECT pg_logical_emit_message(true, 'qafila', '');

-- name: read_changes
-- One page of a window, in the order of its key. Reads past what is applied only where a
-- transaction was open when the last snapshot was taken.
SELECT xid::text::bigint, seq, key, op::text
FROM {outbox}
WHERE xid >= %(low)s::text::xid8
  AND (%(after_xid)s::text IS NULL
       OR (xid, seq) > (%(after_xid)s::text::xid8, %(after_seq)s::bigint))
  AND NOT pg_visible_in_snapshot(xid, %(seen)s::pg_snapshot)
  AND pg_visible_in_snapshot(xid, %(window)s::pg_snapshot)
ORDER BY xid, seq
LIMIT %(limit)s;

-- name: lag
-- What is committed and not applied: how many changes, how old the oldest is. With ``until``, only
-- what that snapshot shows.
SELECT count(*),
       coalesce(extract(epoch FROM clock_timestamp() - min(at)), 0)::double precision
FROM {outbox}
WHERE xid >= %(low)s::text::xid8
  AND NOT pg_visible_in_snapshot(xid, %(seen)s::pg_snapshot)
  AND (%(window)s::text IS NULL
       OR NOT pg_visible_in_snapshot(xid, %(window)s::text::pg_snapshot)
       OR %(after_xid)s::text IS NULL
       OR (xid, seq) > (%(after_xid)s::text::xid8, %(after_seq)s::bigint))
  AND (%(until)s::text IS NULL OR pg_visible_in_snapshot(xid, %(until)s::text::pg_snapshot));

-- name: later_than
-- A change with a number that the server has not given out yet: it came with a restore.
SELECT
FROM {outbox}
WHERE xid >= %(xmax)s::text::xid8
LIMIT 1;

-- name: held_changes
-- All changes that the outbox still holds.
SELECT count(*)
FROM {outbox};

-- name: prune
-- A bounded bite of what every living generation has applied.
DELETE FROM {outbox}
WHERE (xid, seq) IN (
    SELECT xid, seq
    FROM {outbox}
    WHERE xid < %(before)s::text::xid8
    ORDER BY xid, seq
    LIMIT %(limit)s
);

-- name: oldest_writers
-- Who keeps the outbox from being pruned: the transactions that have written and are not over.
-- Columns of other roles' sessions are NULL without pg_read_all_stats.
SELECT told
FROM (
    SELECT xact_start AS since,
           format('process %%s (%%s, %%s) for %%s s', pid, coalesce(usename, '?'),
                  coalesce(state, '?'),
                  extract(epoch FROM clock_timestamp() - xact_start)::integer) AS told
    FROM pg_stat_activity
    WHERE backend_xid IS NOT NULL
      AND pid <> pg_backend_pid()
      AND xact_start < clock_timestamp() - make_interval(secs => %(seconds)s)
    UNION ALL
    SELECT prepared,
           format('prepared transaction %%s of %%s for %%s s', gid, owner,
                  extract(epoch FROM clock_timestamp() - prepared)::integer)
    FROM pg_prepared_xacts
    WHERE prepared < clock_timestamp() - make_interval(secs => %(seconds)s)
) AS open
ORDER BY since
LIMIT 3;

-- name: put_live_sync
-- In the ledger, before anything is installed: the token tells our capture from another ledger's.
INSERT INTO qafila.live_sync (workload, token, block, source_table, key)
VALUES (%(workload)s, %(token)s, %(block)s, %(table)s, %(key)s)
ON CONFLICT (workload) DO NOTHING;

-- name: read_live_sync
SELECT token, block, source_table, key, pruned_before
FROM qafila.live_sync
WHERE workload = %(workload)s;

-- name: note_pruned
-- Before the source's rows go; it only rises.
UPDATE qafila.live_sync
SET pruned_before = greatest(pruned_before, %(before)s)
WHERE workload = %(workload)s
  AND token = %(token)s;

-- name: forget_live_sync
-- After the capture is gone; the feeds go with it.
DELETE FROM qafila.live_sync
WHERE workload = %(workload)s
  AND token = %(token)s;

-- name: open_feed
-- The first start stays, unless the generation was emptied.
INSERT INTO qafila.live_sync_feed AS f (workload, generation, start)
VALUES (%(workload)s, %(generation)s, %(start)s)
ON CONFLICT (workload, generation) DO UPDATE
SET start = excluded.start,
    position = '',
    problem = ''
WHERE %(emptied)s
RETURNING start;

-- name: list_feeds
SELECT generation, start, position, epoch, holder, holder_pid, holder_run,
       extract(epoch FROM clock_timestamp() - heartbeat)::double precision AS age_seconds,
       changes, documents, chunks, rejected, problem
FROM qafila.live_sync_feed
WHERE workload = %(workload)s
ORDER BY generation;

-- name: forget_feed
DELETE FROM qafila.live_sync_feed
WHERE workload = %(workload)s
  AND generation = %(generation)s;

-- name: take_feed
-- One applier a generation: taken when nobody has it, its holder is silent, or its process is dead.
-- Epochs begin at the time, so that they rise also when live sync was removed and installed again.
UPDATE qafila.live_sync_feed
SET holder = %(holder)s,
    holder_pid = %(pid)s,
    holder_run = %(run)s,
    epoch = greatest(epoch + 1, extract(epoch FROM clock_timestamp())::bigint),
    heartbeat = clock_timestamp(),
    problem = ''
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND (holder IS NULL
       OR heartbeat + make_interval(secs => %(ttl)s) < clock_timestamp()
       OR (holder = %(holder)s AND NOT holder_pid = ANY (%(alive)s)))
RETURNING epoch, start;

-- name: beat_feed
-- No row: somebody else took it.
UPDATE qafila.live_sync_feed
SET heartbeat = clock_timestamp()
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND epoch = %(epoch)s
RETURNING epoch;

-- name: move_feed
-- After the target committed: where the outbox may be pruned to. No row: somebody else took it.
UPDATE qafila.live_sync_feed
SET position = %(position)s,
    heartbeat = clock_timestamp(),
    changes = changes + %(changes)s,
    documents = documents + %(documents)s,
    chunks = chunks + %(chunks)s,
    rejected = rejected + %(rejected)s
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND epoch = %(epoch)s
RETURNING epoch;

-- name: leave_feed
UPDATE qafila.live_sync_feed
SET holder = NULL,
    holder_pid = NULL,
    holder_run = NULL,
    problem = %(problem)s
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND epoch = %(epoch)s;

-- name: lock_feed
-- First statement where dead letters change: a holder of before finds no row.
SELECT epoch
FROM qafila.live_sync_feed
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND epoch = %(epoch)s
FOR UPDATE;

-- name: forget_dead_letters_of
-- Before the documents' new ones are written: what was set aside may be well now, or gone.
DELETE FROM qafila.dead_letter
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND source_key = ANY (%(keys)s);

-- name: generations
-- Every generation, and whether all its shards are loaded.
SELECT g.number, g.phase,
       EXISTS (SELECT FROM qafila.shard AS s
               WHERE s.workload = g.workload AND s.generation = g.number)
       AND NOT EXISTS (SELECT FROM qafila.shard AS s
                       WHERE s.workload = g.workload AND s.generation = g.number
                         AND s.state <> 'loaded') AS loaded,
       EXISTS (SELECT FROM qafila.shard AS s
               WHERE s.workload = g.workload AND s.generation = g.number
                 AND s.epoch > 0) AS begun
FROM qafila.generation AS g
WHERE g.workload = %(workload)s
ORDER BY g.number;

-- name: workload_at
-- What was meant when a generation was opened.
SELECT spec
FROM qafila.workload_revision
WHERE workload = %(workload)s
  AND revision = %(revision)s;
