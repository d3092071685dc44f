-- Live sync: where it is installed, and how far each generation is. Safe before the code changes.

-- One row a workload, written before anything is installed in its source. The token stands in the
-- source too, so that two ledgers never drain one outbox.
CREATE TABLE qafila.live_sync (
    workload text PRIMARY KEY,
    token text NOT NULL,
    block text NOT NULL,
    source_table text NOT NULL,
    key text[] NOT NULL,
    pruned_before bigint NOT NULL DEFAULT 0,
    recorded_at timestamptz NOT NULL DEFAULT now()
);

-- One row a generation that is fed, or will be. The target's mark is the truth about how far it is;
-- position follows it, and decides how far the outbox may be pruned.
CREATE TABLE qafila.live_sync_feed (
    workload text NOT NULL REFERENCES qafila.live_sync ON DELETE CASCADE,
    generation integer NOT NULL,
    start text NOT NULL,
    position text NOT NULL DEFAULT '',
    epoch bigint NOT NULL DEFAULT 0,
    holder text,
    holder_pid integer,
    holder_run text,
    heartbeat timestamptz,
    changes bigint NOT NULL DEFAULT 0,
    documents bigint NOT NULL DEFAULT 0,
    chunks bigint NOT NULL DEFAULT 0,
    rejected bigint NOT NULL DEFAULT 0,
    problem text NOT NULL DEFAULT '',
    PRIMARY KEY (workload, generation),
    FOREIGN KEY (workload, generation) REFERENCES qafila.generation
);
