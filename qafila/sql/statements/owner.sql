-- name: has_owners
-- False in a target whose schema is older than the owners.
SELECT to_regclass('qafila.generation_owner') IS NOT NULL;

-- name: list_owners
-- Which ledger owns which generation of a workload.
SELECT generation, ledger::text
FROM qafila.generation_owner
WHERE workload = %(workload)s;

-- name: put_owner
-- The first stays.
INSERT INTO qafila.generation_owner (workload, generation, ledger, fingerprint)
VALUES (%(workload)s, %(generation)s, %(ledger)s, %(fingerprint)s)
ON CONFLICT (workload, generation) DO NOTHING;

-- name: begun_with
-- The fingerprints that a generation was begun with, by its checkpoints and its column.
SELECT fingerprint
FROM qafila.checkpoint
WHERE workload = %(workload)s
  AND generation = %(generation)s
UNION
SELECT fingerprint
FROM qafila.column_generation
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND fingerprint IS NOT NULL;

-- name: rows_with
-- The fingerprint of some row; none when the table is empty.
SELECT fingerprint
FROM {table}
LIMIT 1;

-- name: has_table
SELECT to_regclass(%(table)s) IS NOT NULL;

-- name: generations_of
-- The generations of a workload that one of our tables speaks of.
SELECT DISTINCT generation
FROM {table}
WHERE workload = %(workload)s;

-- name: pointed_at
SELECT unnest(ARRAY[generation, trial, previous])
FROM qafila.alias
WHERE workload = %(workload)s;

-- name: generation_tables
-- The numbers at the end of the names of a workload's tables.
SELECT substring(tablename FROM '[0-9]+$')::integer
FROM pg_tables
WHERE schemaname = 'qafila'
  AND tablename ~ %(names)s;

-- name: take_over
-- Only after the pointer row is locked, in the same transaction.
INSERT INTO qafila.generation_owner AS o (workload, generation, ledger, fingerprint)
VALUES (%(workload)s, %(generation)s, %(ledger)s, %(fingerprint)s)
ON CONFLICT (workload, generation) DO UPDATE
SET ledger = excluded.ledger,
    claimed_at = now();

-- name: fence_pointer
-- The former ledger's holder has an older epoch from here on; no trial survives its ledger.
UPDATE qafila.alias
SET trial = NULL,
    epoch = greatest(epoch, %(epoch)s),
    moved_at = now()
WHERE workload = %(workload)s;
