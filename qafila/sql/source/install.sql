-- What live sync puts into the source's database, and nothing else: one schema of its own with one
-- table and one function, and two triggers on the table that is followed. One transaction. Only
-- CREATE TRIGGER locks that table, against writers, until the commit that follows.

CREATE SCHEMA {schema};
COMMENT ON SCHEMA {schema} IS {comment};

-- A change is due when the reader's last snapshot does not show its transaction (xid). The key
-- serves the reader; a write only appends to it.
CREATE TABLE {outbox} (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    seq bigint GENERATED ALWAYS AS IDENTITY,
    key text[],
    op "char" NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (xid, seq)
);

-- Runs as its owner, so that an application needs no right on the outbox. A key that changes is
-- written twice, as it was and as it is. Settings decide how some types are written as text, so
-- they are fixed to those of the reader.
CREATE FUNCTION {function}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp {settings}
AS $capture$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO {outbox} (key, op) VALUES ({new}, 'I');
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO {outbox} (key, op) VALUES ({new}, 'U');
        IF {old} IS DISTINCT FROM {new} THEN
            INSERT INTO {outbox} (key, op) VALUES ({old}, 'U');
        END IF;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO {outbox} (key, op) VALUES ({old}, 'D');
    ELSE
        INSERT INTO {outbox} (key, op) VALUES (NULL, 'T');
    END IF;
    RETURN NULL;
END
$capture$;
REVOKE ALL ON FUNCTION {function}() FROM PUBLIC;

-- Not for what Qafila itself writes into this table, where vectors are a column of it.
CREATE TRIGGER {row_trigger}
    AFTER INSERT OR UPDATE OR DELETE ON {table}
    FOR EACH ROW WHEN (current_setting('qafila.own_write', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION {function}();
CREATE TRIGGER {truncate_trigger}
    AFTER TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION {function}();

-- Also for rows that arrive by logical replication, or with session_replication_role = replica.
ALTER TABLE {table} ENABLE ALWAYS TRIGGER {row_trigger};
ALTER TABLE {table} ENABLE ALWAYS TRIGGER {truncate_trigger};
