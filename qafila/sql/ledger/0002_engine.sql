-- The engine of a load: what each shard cost and did, who coordinates, and how fast it may go.
-- Safe before the code changes.

ALTER TABLE qafila.shard
    ADD COLUMN chunks_loaded bigint NOT NULL DEFAULT 0,
    ADD COLUMN copied bigint NOT NULL DEFAULT 0,
    ADD COLUMN reused bigint NOT NULL DEFAULT 0,
    ADD COLUMN embedded bigint NOT NULL DEFAULT 0,
    ADD COLUMN tokens bigint NOT NULL DEFAULT 0,
    ADD COLUMN cost numeric NOT NULL DEFAULT 0,
    ADD COLUMN error text;

CREATE INDEX shard_to_claim ON qafila.shard (workload, generation, number)
    WHERE state <> 'loaded';

-- One row a load. Its holder coordinates; workers read state and speed several times a second.
CREATE TABLE qafila.load (
    workload text NOT NULL,
    generation integer NOT NULL,
    state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'paused', 'cancelled')),
    speed real NOT NULL DEFAULT 1 CHECK (speed > 0 AND speed <= 1),
    reason text NOT NULL DEFAULT '',
    changed_by text NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL DEFAULT now(),
    health_speed real NOT NULL DEFAULT 1 CHECK (health_speed > 0 AND health_speed <= 1),
    health_reason text NOT NULL DEFAULT '',
    holder text,
    holder_pid integer,
    holder_run text,
    epoch bigint NOT NULL DEFAULT 0,
    heartbeat timestamptz,
    PRIMARY KEY (workload, generation),
    FOREIGN KEY (workload, generation) REFERENCES qafila.generation
);
