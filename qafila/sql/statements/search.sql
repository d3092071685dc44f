-- name: create_lexeme_shares
-- The share of {table}'s rows that each lexeme occurs in: what tells a rare word from a common one.
CREATE TABLE IF NOT EXISTS {shares} (
    lexeme text COLLATE "C" PRIMARY KEY,
    share real NOT NULL
);

-- name: fill_lexeme_shares
-- Only into an empty table; {query} is SELECT lexemes of {table} as a literal, as ts_stat wants it.
INSERT INTO {shares} (lexeme, share)
SELECT word, ndoc::real / greatest(1, (SELECT count(*) FROM {table}))
FROM ts_stat({query})
WHERE NOT EXISTS (SELECT FROM {shares})
ON CONFLICT (lexeme) DO NOTHING;

-- name: analyze_lexeme_shares
ANALYZE {shares};

-- name: drop_lexeme_shares
DROP TABLE IF EXISTS {shares};

-- name: describe_generation
-- Type of the vectors and configuration of the lexemes, as the table was made; NULL: it has none.
SELECT t.typname,
       (SELECT substring(pg_get_expr(d.adbin, d.adrelid) FROM 'to_tsvector\(''(\w+)''::regconfig')
        FROM pg_attribute AS l
        JOIN pg_attrdef AS d ON d.adrelid = l.attrelid AND d.adnum = l.attnum
        WHERE l.attrelid = a.attrelid
          AND l.attname = 'lexemes')
FROM pg_attribute AS a
JOIN pg_type AS t ON t.oid = a.atttypid
WHERE a.attrelid = to_regclass(%(table)s)
  AND a.attname = 'embedding';

-- name: keyword_terms
-- The head of every keyword search. The rarest lexemes of the question select the rows: the rarest
-- one always, further ones up to a number and as long as their shares do not add up to too many
-- rows, or as long as they select few rows. More of them rank what was selected: ranking is what
-- costs. A lexeme of a handful of rows is never too common, or a table of ten rows could not be
-- searched. The number of rows is the planner's; of a table that it never counted it is not known.
-- ts_rank takes all words for equally telling, so it only chooses the best few, whose score is then
-- the mean over the words, the rare ones weighing more: ln(1 + 1 / share).
WITH size AS MATERIALIZED (
    SELECT nullif(reltuples, -1) AS rows
    FROM pg_class
    WHERE oid = {name}::regclass
), word AS MATERIALIZED (
    SELECT '''' || replace(replace(s.lexeme, '\', '\\'), '''', '''''') || '''' AS quoted,
           ln(1 + 1 / s.share::float8) AS weight,
           row_number() OVER rarest_first AS number,
           sum(s.share) OVER rarest_first AS rows
    FROM unnest(tsvector_to_array(to_tsvector({config}, %(text)s))) AS asked (lexeme)
    JOIN {shares} AS s ON s.lexeme = asked.lexeme COLLATE "C", size
    WHERE s.share < %(common)s
       OR s.share * size.rows <= %(handful)s
    WINDOW rarest_first AS (ORDER BY s.share, s.lexeme)
    ORDER BY s.share, s.lexeme
    LIMIT %(ranking)s
), term AS MATERIALIZED (
    SELECT (string_agg(quoted, ' | ') FILTER (
               WHERE number = 1
                  OR (number <= %(words)s AND word.rows <= %(rows)s)
                  OR word.rows * size.rows <= %(few)s
           ))::tsquery AS selects,
           string_agg(quoted, ' | ')::tsquery AS ranks
    FROM word, size
), ranked AS MATERIALIZED (
    SELECT {key} AS source_key,
           lexemes
    FROM {table}, term
    WHERE lexemes @@ term.selects
      AND {acl} && %(groups)s
    ORDER BY ts_rank(lexemes, term.ranks, 32) DESC, {key}
    LIMIT %(k)s
), keyword AS MATERIALIZED (
    SELECT source_key,
           (
               SELECT sum(word.weight * ts_rank(ranked.lexemes, word.quoted::tsquery))
                   / sum(word.weight)
               FROM word
           ) AS score
    FROM ranked
)

-- name: keyword_search
-- After keyword_terms.
SELECT source_key, score
FROM keyword
ORDER BY score DESC, source_key;

-- name: both_searches
-- After keyword_terms: the keyword list and the vector list in one round trip.
, nearest AS MATERIALIZED (
    SELECT {key} AS source_key,
           embedding <=> %(vector)b::{type} AS distance
    FROM {table}
    WHERE {acl} && %(groups)s
    ORDER BY embedding <=> %(vector)b::{type}
    LIMIT %(k)s
)
SELECT 'keyword', source_key, score
FROM keyword
UNION ALL
SELECT 'vector', source_key, 1 - distance
FROM nearest;

-- name: vector_search
-- By the index, or by looking at every row when the caller has switched index scans off.
SELECT {key}, 1 - (embedding <=> %(vector)b::{type}) AS score
FROM {table}
WHERE {acl} && %(groups)s
ORDER BY embedding <=> %(vector)b::{type}
LIMIT %(k)s;
