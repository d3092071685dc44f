-- How far live sync is in each generation; written in the transaction that applies the changes.
-- Safe before the code changes.

CREATE TABLE qafila.sync_mark (
    workload text NOT NULL,
    generation integer NOT NULL,
    epoch bigint NOT NULL,
    position text NOT NULL DEFAULT '',
    written_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workload, generation)
);
