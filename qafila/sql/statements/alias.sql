-- name: read_alias
-- The pointer row as it stands.
SELECT workload, generation, trial, previous, epoch
FROM qafila.alias
WHERE workload = %(workload)s;

-- name: set_trial
-- Put a generation on trial; the row is locked by the upsert. An older generation than the one
-- that serves or is on trial changes nothing. The epoch only rises.
INSERT INTO qafila.alias (workload, generation, trial, previous, epoch)
VALUES (%(workload)s, NULL, %(generation)s, NULL, %(epoch)s)
ON CONFLICT (workload) DO UPDATE
SET trial = excluded.trial,
    epoch = greatest(qafila.alias.epoch, excluded.epoch),
    moved_at = now()
WHERE excluded.trial >= coalesce(qafila.alias.generation, 0)
  AND excluded.trial >= coalesce(qafila.alias.trial, 0)
RETURNING workload, generation, trial, previous, epoch;

-- name: move_alias
-- The cut-over: the generation serves, the one before is remembered, nothing is on trial.
-- A second time it changes nothing; a stale epoch finds no row.
INSERT INTO qafila.alias (workload, generation, trial, previous, epoch)
VALUES (%(workload)s, %(generation)s, NULL, NULL, %(epoch)s)
ON CONFLICT (workload) DO UPDATE
SET previous = CASE
        WHEN qafila.alias.generation IS NOT DISTINCT FROM excluded.generation
        THEN qafila.alias.previous
        ELSE qafila.alias.generation
    END,
    generation = excluded.generation,
    trial = NULL,
    epoch = excluded.epoch,
    moved_at = now()
WHERE qafila.alias.epoch <= excluded.epoch
RETURNING workload, generation, trial, previous, epoch;

-- name: return_alias
-- The way back: what served before serves again when the generation serves now; the trial ends
-- either way. A second time it changes nothing but the epoch.
UPDATE qafila.alias
SET generation = CASE
        WHEN generation = ANY(%(generations)s) THEN previous
        ELSE generation
    END,
    previous = CASE
        WHEN generation = ANY(%(generations)s) THEN NULL
        ELSE previous
    END,
    trial = NULL,
    epoch = %(epoch)s,
    moved_at = now()
WHERE workload = %(workload)s
  AND epoch <= %(epoch)s
RETURNING workload, generation, trial, previous, epoch;

-- name: lock_alias
-- The pointer row, held until the transaction ends: nobody moves it meanwhile.
SELECT workload, generation, trial, previous, epoch
FROM qafila.alias
WHERE workload = %(workload)s
FOR UPDATE;

-- name: end_trial
-- The generation is no longer on trial; what serves and what came before stay. A second time it
-- changes nothing.
UPDATE qafila.alias
SET trial = NULL,
    moved_at = now()
WHERE workload = %(workload)s
  AND trial = %(generation)s;

-- name: forget_previous
-- A rollback no longer returns to the generation. A second time it changes nothing.
UPDATE qafila.alias
SET previous = NULL,
    moved_at = now()
WHERE workload = %(workload)s
  AND previous = %(generation)s;
