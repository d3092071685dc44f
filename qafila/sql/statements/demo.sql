-- name: lock_corpus
-- One loader at a time; freed at the end of the transaction.
SELECT pg_advisory_xact_lock(%(lock)s);

-- name: create_corpus_stamp
-- Which corpus is loaded; at most one row.
CREATE TABLE IF NOT EXISTS corpus_stamp (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    stamp text NOT NULL,
    documents integer NOT NULL,
    queries integer NOT NULL
);

-- name: read_corpus_stamp
-- The stamp counts only when the rows it speaks of are there.
SELECT stamp, documents, queries
FROM corpus_stamp
WHERE to_regclass('operation') IS NOT NULL
  AND to_regclass('operation_lexeme') IS NOT NULL
  AND to_regclass('known_item_query') IS NOT NULL;

-- name: create_corpus
-- Replaces a corpus of another stamp; readers of the old tables finish first.
DROP TABLE IF EXISTS operation_lexeme, known_item_query, operation;
CREATE TABLE operation (
    operation_id text PRIMARY KEY,
    service text NOT NULL,
    title text NOT NULL,
    body text NOT NULL,
    readers text[] NOT NULL,
    lexemes tsvector GENERATED ALWAYS AS (
        setweight(to_tsvector('english', title), 'A')
        || setweight(to_tsvector('english', body), 'B')
    ) STORED
);
CREATE TABLE known_item_query (
    query_id text PRIMARY KEY,
    text text NOT NULL,
    relevant text NOT NULL,
    grade integer NOT NULL CHECK (grade >= 0)
);

-- name: copy_operations
-- Load documents.
COPY operation (operation_id, service, title, body, readers) FROM STDIN;

-- name: copy_queries
-- Load queries with their one known answer.
COPY known_item_query (query_id, text, relevant, grade) FROM STDIN;

-- name: index_corpus
-- After the load: the inverted index, and the share of documents that each lexeme occurs in.
CREATE INDEX operation_lexemes ON operation USING gin (lexemes) WITH (fastupdate = off);
CREATE TABLE operation_lexeme (
    lexeme text COLLATE "C" PRIMARY KEY,
    share real NOT NULL
);
INSERT INTO operation_lexeme (lexeme, share)
SELECT word, ndoc::real / (SELECT count(*) FROM operation)
FROM ts_stat('SELECT lexemes FROM operation');

-- name: put_corpus_stamp
-- Last in the transaction: the corpus is complete.
INSERT INTO corpus_stamp (stamp, documents, queries)
VALUES (%(stamp)s, %(documents)s, %(queries)s)
ON CONFLICT (singleton) DO UPDATE
SET stamp = excluded.stamp,
    documents = excluded.documents,
    queries = excluded.queries;

-- name: analyze_corpus
-- Plans need statistics.
ANALYZE operation, operation_lexeme, known_item_query;

-- name: query_texts
-- What the demo's users ask.
SELECT text
FROM known_item_query
ORDER BY query_id;

-- name: documents_of
-- The texts of a few documents, for an answer that cites them.
SELECT operation_id, title, body
FROM operation
WHERE operation_id = any(%(keys)s)
ORDER BY operation_id;
