-- Answers of several persons to one question, and who started what is asked about. Safe before the
-- code changes.

ALTER TABLE qafila.approval
    ADD COLUMN needed integer NOT NULL DEFAULT 1 CHECK (needed >= 1),
    ADD COLUMN requested_by text;

-- One row a person and question; person is the name without case and spaces.
CREATE TABLE qafila.approval_answer (
    approval text NOT NULL REFERENCES qafila.approval,
    person text NOT NULL,
    name text NOT NULL,
    decision text NOT NULL CHECK (decision IN ('approve', 'reject')),
    notes text NOT NULL DEFAULT '',
    answered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (approval, person)
);
