-- Which column of an application's own table holds which generation; 0 is what was there before us.
-- A swap renames two columns and changes two of these rows in one transaction.
-- Safe before the code changes.

CREATE TABLE qafila.column_generation (
    workload text NOT NULL,
    generation integer NOT NULL,
    table_schema text NOT NULL,
    table_name text NOT NULL,
    serving_name text NOT NULL,
    held_as text NOT NULL,
    fingerprint text,
    required boolean NOT NULL DEFAULT false,
    changed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workload, generation),
    UNIQUE (table_schema, table_name, held_as)
);

COMMENT ON COLUMN qafila.column_generation.serving_name IS 'The name that the application uses.';
COMMENT ON COLUMN qafila.column_generation.held_as IS 'The name that the column has at present.';
COMMENT ON COLUMN qafila.column_generation.fingerprint IS 'NULL: not ours, and nobody told us.';
COMMENT ON COLUMN qafila.column_generation.required IS 'It was NOT NULL when it last served.';
