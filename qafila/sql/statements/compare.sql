-- name: witnesses
-- What identifies each row, the key last. A digest of another length is one that no text has.
-- OFFSET 0 keeps a digest that is computed from being computed twice.
COPY (
    SELECT number,
           marked,
           CASE
               WHEN octet_length(digest) = 32 THEN digest
               ELSE decode(repeat('00', 32), 'hex')
           END,
           key
    FROM (
        SELECT ({number})::integer AS number,
               ({marked})::boolean AS marked,
               {digest} AS digest,
               {key} AS key
        FROM {rows}
        OFFSET 0
    ) AS named
) TO STDOUT (FORMAT BINARY);

-- name: sums
-- Rows by bucket of their key, with two sums over a hash of all that identifies them. The hash is the
-- one that partitioning relies on, of ASCII in C order: the same in every database and version.
SELECT (get_byte(k, 0) << 4) | (get_byte(k, 1) >> 4),
       count(*),
       sum(hashtextextended(row_hex, 1)),
       sum(hashtextextended(row_hex, 2))
FROM (
    SELECT k,
           encode(k || digest || int4send(number) || boolsend(marked), 'hex') COLLATE "C" AS row_hex
    FROM (
        SELECT sha256(convert_to(key, 'UTF8')) AS k,
               number,
               marked,
               CASE
                   WHEN octet_length(digest) = 32 THEN digest
                   ELSE decode(repeat('00', 32), 'hex')
               END AS digest
        FROM (
            SELECT {key} AS key,
                   ({number})::integer AS number,
                   ({marked})::boolean AS marked,
                   {digest} AS digest
            FROM {rows}
            OFFSET 0
        ) AS named
        OFFSET 0
    ) AS each_row
    OFFSET 0
) AS hashed
GROUP BY 1;

-- name: readers
-- Chunks by their list of groups.
SELECT acl, count(*)
FROM {table}
GROUP BY acl;

-- name: stored
-- All that is kept of some documents; vectors in their wire form.
SELECT source_key, chunk_number, start_offset, end_offset, title, text, text_digest, acl,
       metadata::text, fingerprint, vector_send(embedding::vector)
FROM {table}
WHERE source_key = ANY(%(keys)s);

-- name: column_readers
-- The same of the application's own rows that have a vector.
SELECT {acl}, count(*)
FROM {table} AS t
WHERE t.{column} IS NOT NULL
GROUP BY 1;

-- name: column_stored
-- All that is kept of some of the application's rows; vectors in their wire form.
SELECT {key}, {title}, {text}, t.{digest}, {acl}, ({metadata})::text,
       vector_send(t.{column}::vector)
FROM {table} AS t
WHERE ({columns}) IN (SELECT * FROM unnest({arrays}))
  AND t.{column} IS NOT NULL;

-- name: column_witnesses
-- Keys and digests of the application's rows that have a vector, paging by key.
SELECT {key}, t.{digest}
FROM {table} AS t
WHERE t.{column} IS NOT NULL
  AND {beyond}
ORDER BY {columns}
LIMIT {limit};

-- name: count_by_partition
-- Rows of a partitioned table by the partition that holds them.
SELECT asked.tableoid::regclass::text, count(*)
FROM {table} AS asked
GROUP BY asked.tableoid;
