-- Which ledger each generation belongs to. A row stays when its generation is dropped, so that no
-- number is used twice. Safe before the code changes.

CREATE TABLE qafila.generation_owner (
    workload text NOT NULL,
    generation integer NOT NULL,
    ledger uuid NOT NULL,
    fingerprint text NOT NULL,
    claimed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workload, generation)
);
