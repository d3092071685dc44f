-- name: open_service
INSERT INTO qafila.governor (service)
VALUES (%(service)s)
ON CONFLICT (service) DO NOTHING;

-- name: open_purse
INSERT INTO qafila.spending (workload, generation, currency)
VALUES (%(workload)s, %(generation)s, %(currency)s)
ON CONFLICT (workload, generation) DO NOTHING;

-- name: reserve
-- Money before the call. One row lock, so that callers queue and none sees a stale sum; no row when
-- the cap could be crossed. What crashed callers reserved stays counted.
WITH purse AS (
    UPDATE qafila.spending
    SET reserved = reserved + %(expected)s
    WHERE workload = %(workload)s
      AND generation = %(generation)s
      AND settled + reserved + %(expected)s <= %(cap)s
    RETURNING workload, generation, currency
)
INSERT INTO qafila.cost_entry
       (workload, generation, run_id, what, quantity, unit, expected, currency, expires_at)
SELECT workload, nullif(generation, 0), %(run_id)s, %(what)s, %(tokens)s, 'token', %(expected)s,
       currency, clock_timestamp() + make_interval(secs => %(lifetime)s)
FROM purse
RETURNING id;

-- name: read_purse
SELECT settled, reserved, currency
FROM qafila.spending
WHERE workload = %(workload)s
  AND generation = %(generation)s;

-- name: take_place
-- The end of the queue for this caller, as qafila.embedders.limit_arithmetic.take computes it; one row lock.
-- The start is never before the pause that the service asked for.
UPDATE qafila.governor
SET free_at = greatest(
        free_at,
        greatest(clock_timestamp(), paused_until) - make_interval(secs => %(catch_up)s)
    ) + make_interval(secs => %(seconds)s)
WHERE service = %(service)s
RETURNING extract(epoch FROM greatest(
              clock_timestamp(), paused_until, free_at - make_interval(secs => %(seconds)s)
          ))::double precision AS start,
          extract(epoch FROM clock_timestamp())::double precision AS now;

-- name: read_service
-- Takes no lock.
SELECT extract(epoch FROM clock_timestamp())::double precision AS now,
       extract(epoch FROM paused_until)::double precision AS paused_until,
       token_ratio
FROM qafila.governor
WHERE service = %(service)s;

-- name: pause_service
-- For every caller on every machine; the longest pause counts.
UPDATE qafila.governor
SET paused_until = greatest(
        paused_until, clock_timestamp() + make_interval(secs => %(seconds)s)
    ),
    pauses = pauses + 1
WHERE service = %(service)s;

-- name: correct_service
-- After the service said what it read: pay back or charge more, and learn.
UPDATE qafila.governor
SET free_at = free_at + make_interval(secs => %(seconds)s),
    token_ratio = coalesce(
        greatest(%(ratio)s::double precision,
                 0.95 * token_ratio + 0.05 * %(ratio)s::double precision),
        token_ratio
    )
WHERE service = %(service)s
RETURNING token_ratio;

-- name: settle
-- Money after the call; a second time changes nothing. A permit that had lapsed is put right.
-- Locks the entry, then the purse, as ``settle_lapsed`` does.
WITH found AS (
    SELECT id, expected, actual, settled_at
    FROM qafila.cost_entry
    WHERE id = %(id)s
      AND (settled_at IS NULL OR outcome = 'lapsed')
    FOR UPDATE
), done AS (
    UPDATE qafila.cost_entry AS c
    SET actual = coalesce(%(actual)s::numeric, c.expected),
        quantity = coalesce(%(tokens)s::numeric, c.quantity),
        outcome = %(outcome)s,
        settled_at = clock_timestamp()
    FROM found AS f
    WHERE c.id = f.id
    RETURNING c.workload, coalesce(c.generation, 0) AS generation, c.actual,
              CASE WHEN f.settled_at IS NULL THEN f.expected ELSE 0 END AS was_reserved,
              CASE WHEN f.settled_at IS NULL THEN 0 ELSE f.actual END AS was_settled
)
UPDATE qafila.spending AS s
SET reserved = s.reserved - d.was_reserved,
    settled = s.settled + d.actual - d.was_settled
FROM done AS d
WHERE s.workload = d.workload
  AND s.generation = d.generation;

-- name: settle_lapsed
-- Permits of callers that are taken for dead: counted as expected, since the call may have been
-- made. Skips what another caller is settling.
WITH dead AS (
    SELECT id
    FROM qafila.cost_entry
    WHERE settled_at IS NULL
      AND expires_at < clock_timestamp()
    FOR UPDATE SKIP LOCKED
), lapsed AS (
    UPDATE qafila.cost_entry AS c
    SET actual = c.expected,
        outcome = 'lapsed',
        settled_at = clock_timestamp()
    FROM dead AS d
    WHERE c.id = d.id
    RETURNING c.workload, coalesce(c.generation, 0) AS generation, c.expected
), sums AS (
    SELECT workload, generation, sum(expected) AS expected
    FROM lapsed
    GROUP BY workload, generation
)
UPDATE qafila.spending AS s
SET reserved = s.reserved - d.expected,
    settled = s.settled + d.expected
FROM sums AS d
WHERE s.workload = d.workload
  AND s.generation = d.generation;
