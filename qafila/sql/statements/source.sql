-- name: columns_of
-- Name, type and order of a table's columns; no row when there is no such table. Takes no lock.
SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnum
FROM pg_attribute AS a
WHERE a.attrelid = to_regclass(%(table)s)
  AND a.attnum > 0
  AND NOT a.attisdropped
ORDER BY a.attnum;
