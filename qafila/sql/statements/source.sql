-- name: describe_table
-- Columns of a table or view; no row when there is no such table. Takes no lock. The two versions
-- differ when the library that sorts has changed under the database.
SELECT a.attname,
       format_type(a.atttypid, a.atttypmod),
       NOT a.attnotnull,
       coalesce(quote_ident(c.collname), ''),
       coalesce(c.collisdeterministic, true),
       CASE WHEN c.collname = 'default' THEN d.datcollversion ELSE c.collversion END,
       pg_collation_actual_version(c.oid)
FROM pg_attribute AS a
LEFT JOIN pg_collation AS c ON c.oid = a.attcollation
JOIN pg_database AS d ON d.datname = current_database()
WHERE a.attrelid = to_regclass(%(table)s)
  AND a.attnum > 0
  AND NOT a.attisdropped
ORDER BY a.attnum;

-- name: describe_types
-- Names of the types of a query's columns, and whether they have a collation.
SELECT format_type(u.oid, u.typmod), t.typcollation <> 0
FROM unnest(%(oids)s::oid[], %(typmods)s::integer[]) WITH ORDINALITY AS u (oid, typmod, place)
JOIN pg_type AS t ON t.oid = u.oid
ORDER BY u.place;

-- name: describe_collation
-- One collation by its name, as describe_table describes a column's.
SELECT quote_ident(c.collname),
       c.collisdeterministic,
       CASE WHEN c.collname = 'default' THEN d.datcollversion ELSE c.collversion END,
       pg_collation_actual_version(c.oid)
FROM pg_collation AS c
JOIN pg_database AS d ON d.datname = current_database()
WHERE c.oid = to_regcollation(%(collation)s);

-- name: unique_index
-- A row when the key's columns, or some of them, are unique by an index that can be relied on. A
-- parent's index says nothing of the rows of tables that inherit from it; of partitions it does.
SELECT
FROM pg_index AS i
JOIN pg_class AS t ON t.oid = i.indrelid
WHERE t.oid = to_regclass(%(table)s)
  AND i.indisunique
  AND i.indisvalid
  AND i.indimmediate
  AND i.indpred IS NULL
  AND i.indexprs IS NULL
  AND (t.relkind = 'p' OR NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = t.oid))
  AND NOT EXISTS (
      SELECT
      FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) AS k (attnum)
      JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = k.attnum
      WHERE a.attname <> ALL (%(key)s::text[]))
LIMIT 1;

-- name: steady_session
-- Keys travel as text, so every process must write and read them in one way, whatever its role or
-- its server is set to. Row security must refuse to hide rows rather than hide them.
SELECT set_config(s.name, s.value, false)
FROM (VALUES ('DateStyle', 'ISO, YMD'), ('IntervalStyle', 'postgres'), ('TimeZone', 'UTC'),
             ('extra_float_digits', '1'), ('bytea_output', 'hex'), ('row_security', 'off'))
    AS s (name, value);
