-- The cache of vectors, and the maps of bridge generations. Safe before the code changes.

-- Floats do not compress: storing long vectors as they are spares the attempt at every row.
ALTER TABLE qafila.embedding_cache ALTER COLUMN embedding SET STORAGE EXTERNAL;

-- A map from the vectors of one model to those of another: what a bridge generation is made with.
-- Its digest is part of the fingerprint, so that a generation can never mix two maps.
CREATE TABLE qafila.linear_map (
    digest text PRIMARY KEY,
    workload text NOT NULL,
    from_vectors text NOT NULL,
    to_vectors text NOT NULL,
    body bytea NOT NULL,
    quality jsonb NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now()
);
