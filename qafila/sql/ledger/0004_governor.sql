-- Limits of paid services, shared by all callers, and what the calls cost. Safe before the code
-- changes.

-- One row a service (address and model): the end of its queue, and a pause that it asked for.
CREATE TABLE qafila.governor (
    service text PRIMARY KEY,
    free_at timestamptz NOT NULL DEFAULT 'epoch',
    paused_until timestamptz NOT NULL DEFAULT 'epoch',
    pauses bigint NOT NULL DEFAULT 0,
    token_ratio double precision
);

-- Sums of cost_entry, kept beside it, so that the cap is one comparison. Generation 0 is what was
-- spent outside any. An open call counts as expected; a crashed one stays so.
CREATE TABLE qafila.spending (
    workload text NOT NULL,
    generation integer NOT NULL DEFAULT 0,
    currency text NOT NULL,
    settled numeric NOT NULL DEFAULT 0,
    reserved numeric NOT NULL DEFAULT 0,
    PRIMARY KEY (workload, generation)
);

-- A row of cost_entry is also the permit of one call; past expires_at its caller is taken for dead.
ALTER TABLE qafila.cost_entry
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN outcome text CHECK (outcome IN ('answered', 'not answered', 'not sent', 'lapsed'));
CREATE INDEX cost_entry_open ON qafila.cost_entry (expires_at)
    WHERE settled_at IS NULL AND expires_at IS NOT NULL;

ALTER TABLE qafila.dead_letter
    ADD COLUMN attempts integer NOT NULL DEFAULT 1;
