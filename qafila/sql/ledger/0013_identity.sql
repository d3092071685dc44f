-- Who this ledger is, for the targets that it fills: made once, never changed.
-- Safe before the code changes.

CREATE TABLE qafila.ledger_identity (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    made_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO qafila.ledger_identity DEFAULT VALUES;
