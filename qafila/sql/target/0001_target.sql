-- Beside the data: what must commit together with it. Safe before the code changes.

CREATE EXTENSION IF NOT EXISTS vector;

-- Written in the same transaction as the rows; the epoch fences off a writer whose lease is gone.
CREATE TABLE qafila.checkpoint (
    workload text NOT NULL,
    generation integer NOT NULL,
    shard integer NOT NULL,
    fingerprint text NOT NULL,
    epoch bigint NOT NULL,
    last_key jsonb,
    rows_done bigint NOT NULL DEFAULT 0,
    chunks_done bigint NOT NULL DEFAULT 0,
    digest_sum numeric NOT NULL DEFAULT 0,
    finished boolean NOT NULL DEFAULT false,
    written_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workload, generation, shard)
);

-- The pointer row: which generation serves, which is on trial, and which one it came from.
-- A candidate service reads the one on trial, else the one that serves.
CREATE TABLE qafila.alias (
    workload text PRIMARY KEY,
    generation integer,
    trial integer,
    previous integer,
    epoch bigint NOT NULL,
    moved_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE qafila.embedding_cache (
    text_digest bytea NOT NULL,
    fingerprint text NOT NULL,
    embedding bytea NOT NULL,
    PRIMARY KEY (text_digest, fingerprint)
);
