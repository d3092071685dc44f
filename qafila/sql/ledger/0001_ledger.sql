-- The ledger: the record of every migration. Safe before the code changes.

CREATE TABLE qafila.workload_revision (
    workload text NOT NULL,
    revision integer NOT NULL,
    spec jsonb NOT NULL,
    digest text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workload, revision)
);

-- Connection settings without secrets, so that rollback works without the Prefect server.
CREATE TABLE qafila.connection (
    name text PRIMARY KEY,
    kind text NOT NULL,
    settings jsonb NOT NULL,
    has_secret boolean NOT NULL DEFAULT false,
    recorded_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE qafila.generation (
    workload text NOT NULL,
    number integer NOT NULL,
    revision integer NOT NULL,
    fingerprint text NOT NULL,
    fingerprint_body jsonb NOT NULL,
    phase text NOT NULL,
    phase_since timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workload, number),
    FOREIGN KEY (workload, revision) REFERENCES qafila.workload_revision
);

CREATE TABLE qafila.plan (
    workload text NOT NULL,
    generation integer NOT NULL,
    phase text NOT NULL,
    body jsonb NOT NULL,
    digest text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workload, generation, phase),
    FOREIGN KEY (workload, generation) REFERENCES qafila.generation
);

-- Frozen key ranges: low is exclusive, high is inclusive, NULL is open.
CREATE TABLE qafila.shard (
    workload text NOT NULL,
    generation integer NOT NULL,
    number integer NOT NULL,
    low_key jsonb,
    high_key jsonb,
    rows_planned bigint NOT NULL,
    rows_loaded bigint NOT NULL DEFAULT 0,
    state text NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'claimed', 'loaded')),
    owner text,
    owner_pid integer,
    owner_run text,
    epoch bigint NOT NULL DEFAULT 0,
    heartbeat timestamptz,
    PRIMARY KEY (workload, generation, number),
    FOREIGN KEY (workload, generation) REFERENCES qafila.generation
);

-- The right to move a workload's weights. The epoch only rises.
CREATE TABLE qafila.lease (
    workload text PRIMARY KEY,
    epoch bigint NOT NULL,
    holder text,
    holder_pid integer,
    holder_run text,
    generation integer,
    ttl_seconds double precision NOT NULL,
    heartbeat timestamptz
);

CREATE TABLE qafila.evidence (
    number bigint PRIMARY KEY,
    workload text,
    generation integer,
    kind text NOT NULL,
    run_id text,
    verdict text CHECK (verdict IN ('PASS', 'FAIL', 'INCONCLUSIVE', 'ERROR')),
    sentence text NOT NULL,
    recorded_at timestamptz NOT NULL,
    body jsonb NOT NULL,
    previous text NOT NULL,
    digest text NOT NULL
);
CREATE INDEX evidence_of_workload ON qafila.evidence (workload, kind, number DESC);

CREATE TABLE qafila.evidence_head (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    number bigint NOT NULL,
    digest text NOT NULL
);
INSERT INTO qafila.evidence_head (number, digest) VALUES (0, repeat('0', 64));

CREATE FUNCTION qafila.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'evidence is append-only';
END $$;
CREATE TRIGGER evidence_is_append_only
    BEFORE UPDATE OR DELETE ON qafila.evidence
    FOR EACH ROW EXECUTE FUNCTION qafila.refuse_change();

CREATE TABLE qafila.approval (
    id text PRIMARY KEY,
    workload text NOT NULL,
    generation integer,
    subject text NOT NULL,
    question text NOT NULL,
    asked_by_run text,
    approval_run text,
    state text NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'approved', 'rejected', 'lapsed')),
    decided_by text,
    notes text NOT NULL DEFAULT '',
    asked_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    decided_at timestamptz
);

CREATE TABLE qafila.cost_entry (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workload text NOT NULL,
    generation integer,
    run_id text,
    what text NOT NULL,
    quantity numeric NOT NULL,
    unit text NOT NULL,
    expected numeric NOT NULL,
    actual numeric,
    currency text NOT NULL,
    entered_at timestamptz NOT NULL DEFAULT now(),
    settled_at timestamptz
);

CREATE TABLE qafila.dead_letter (
    workload text NOT NULL,
    generation integer NOT NULL,
    source_key text NOT NULL,
    chunk_number integer NOT NULL,
    reason text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    replayed_at timestamptz,
    PRIMARY KEY (workload, generation, source_key, chunk_number)
);

-- One audit is one snapshot; rows of earlier audits stay for comparison.
CREATE TABLE qafila.audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workload text NOT NULL,
    run_id text,
    started_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    summary jsonb NOT NULL DEFAULT '{}'
);
CREATE TABLE qafila.collector_outcome (
    audit_id bigint NOT NULL REFERENCES qafila.audit,
    collector text NOT NULL,
    region text NOT NULL DEFAULT '',
    outcome text NOT NULL CHECK (outcome IN
        ('complete', 'denied', 'throttled', 'unsupported', 'truncated')),
    resources integer NOT NULL,
    calls integer NOT NULL,
    missed text NOT NULL DEFAULT '',
    PRIMARY KEY (audit_id, collector, region)
);
CREATE TABLE qafila.resource (
    audit_id bigint NOT NULL REFERENCES qafila.audit,
    id text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    region text NOT NULL DEFAULT '',
    size_bytes bigint,
    tags jsonb NOT NULL DEFAULT '{}',
    facts jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (audit_id, id)
);
CREATE TABLE qafila.resource_edge (
    audit_id bigint NOT NULL REFERENCES qafila.audit,
    from_id text NOT NULL,
    to_id text NOT NULL,
    kind text NOT NULL,
    source text NOT NULL,
    confidence real NOT NULL CHECK (confidence > 0 AND confidence <= 1),
    PRIMARY KEY (audit_id, from_id, to_id, kind, source)
);

CREATE TABLE qafila.price (
    snapshot_at timestamptz NOT NULL,
    item text NOT NULL,
    unit text NOT NULL,
    currency text NOT NULL,
    amount numeric NOT NULL,
    source text NOT NULL,
    as_of date NOT NULL,
    PRIMARY KEY (snapshot_at, item)
);

CREATE TABLE qafila.certificate (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workload text NOT NULL,
    generation integer NOT NULL,
    router text NOT NULL,
    versions jsonb NOT NULL,
    seconds_to_zero double precision NOT NULL,
    failed_requests integer NOT NULL,
    evidence_number bigint NOT NULL REFERENCES qafila.evidence,
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);

-- One row a look of the judge: what it counted, what it concluded.
CREATE TABLE qafila.look (
    workload text NOT NULL,
    generation integer NOT NULL,
    rollout text NOT NULL,
    number integer NOT NULL,
    looked_at timestamptz NOT NULL,
    step text NOT NULL,
    weight integer NOT NULL,
    acknowledged integer,
    observed double precision,
    counts jsonb NOT NULL,
    e_values jsonb NOT NULL,
    verdict text NOT NULL,
    sentence text NOT NULL,
    PRIMARY KEY (rollout, number)
);
