-- name: last_look
-- The newest look of the judge at a generation.
SELECT rollout, number, looked_at, step, weight, acknowledged, observed, counts, e_values,
       verdict, sentence
FROM qafila.look
WHERE workload = %(workload)s
  AND generation = %(generation)s
ORDER BY looked_at DESC
LIMIT 1;

-- name: mark_watchdog
-- One row a watchdog, for ever: its name is the machine and what runs it, not the process.
INSERT INTO qafila.watchdog (name, seen_at)
VALUES (%(name)s, clock_timestamp())
ON CONFLICT (name) DO UPDATE
SET seen_at = excluded.seen_at;

-- name: watchdog_seen
-- How long ago any watchdog looked, by the ledger's clock. Reads only.
SELECT extract(epoch FROM clock_timestamp() - max(seen_at))::double precision AS age_seconds
FROM qafila.watchdog;
