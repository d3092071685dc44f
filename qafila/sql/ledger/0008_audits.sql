-- What an audit needs to be compared with the last one, and to be shown and exported from the
-- ledger alone. Safe before the code changes.

-- Who saw a resource: what a collector did not see whole is never called gone. account is the
-- number of the AWS account, empty elsewhere.
ALTER TABLE qafila.resource
    ADD COLUMN collector text NOT NULL DEFAULT '',
    ADD COLUMN account text NOT NULL DEFAULT '';

-- One audit may look into several accounts, each with the same regions.
ALTER TABLE qafila.collector_outcome
    ADD COLUMN account text NOT NULL DEFAULT '',
    DROP CONSTRAINT collector_outcome_pkey,
    ADD PRIMARY KEY (audit_id, collector, account, region);

-- When an edge was last used, where traces, flow logs or a database's sessions say so.
ALTER TABLE qafila.resource_edge ADD COLUMN last_seen timestamptz;

-- Rows of the audit's other tables (spend, reconciliation, waves, …), as they are exported: json
-- and not jsonb, which would not keep the order of the columns.
CREATE TABLE qafila.audit_row (
    audit_id bigint NOT NULL REFERENCES qafila.audit,
    part text NOT NULL,
    number integer NOT NULL,
    body json NOT NULL,
    PRIMARY KEY (audit_id, part, number)
);

-- The row of the evidence chain that speaks of this audit.
ALTER TABLE qafila.audit ADD COLUMN evidence_number bigint REFERENCES qafila.evidence;
CREATE INDEX audit_of_workload ON qafila.audit (workload, id DESC);
