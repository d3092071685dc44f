-- name: columns_of
-- Name, type and order of a table's columns; no row when there is no such table. Takes no lock.
SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnum
FROM pg_attribute AS a
WHERE a.attrelid = to_regclass(%(table)s)
  AND a.attnum > 0
  AND NOT a.attisdropped
ORDER BY a.attnum;

-- name: has_order
-- A row when the type has a default B-tree order; arrays, enums and ranges borrow their family's.
SELECT
FROM pg_type AS t
WHERE t.oid = to_regtype(%(type)s)
  AND (t.typtype IN ('e', 'r', 'm')
       OR EXISTS (
           SELECT
           FROM pg_opclass AS o
           JOIN pg_am AS a ON a.oid = o.opcmethod
           WHERE a.amname = 'btree'
             AND o.opcdefault
             AND (o.opcintype = t.oid
                  OR o.opcintype = t.typbasetype
                  OR EXISTS (
                      SELECT
                      FROM pg_cast AS c
                      WHERE c.castsource = t.oid
                        AND c.casttarget = o.opcintype
                        AND c.castmethod = 'b'))));
