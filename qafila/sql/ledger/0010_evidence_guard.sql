-- The evidence chain only grows by its next row, also under session_replication_role = replica.
-- Safe before the code changes.

CREATE FUNCTION qafila.refuse_another_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT
        FROM qafila.evidence_head
        WHERE number = NEW.number - 1
          AND digest = NEW.previous
    ) THEN
        RAISE EXCEPTION 'evidence is append-only: row % does not follow the head', NEW.number;
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION qafila.refuse_another_head() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.number <> OLD.number + 1 OR NOT EXISTS (
        SELECT
        FROM qafila.evidence
        WHERE number = NEW.number
          AND previous = OLD.digest
          AND digest = NEW.digest
    ) THEN
        RAISE EXCEPTION 'evidence is append-only: the head moves to the row that follows it';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER evidence_is_not_truncated
    BEFORE TRUNCATE ON qafila.evidence
    FOR EACH STATEMENT EXECUTE FUNCTION qafila.refuse_change();
CREATE TRIGGER evidence_follows_the_head
    BEFORE INSERT ON qafila.evidence
    FOR EACH ROW EXECUTE FUNCTION qafila.refuse_another_row();
CREATE TRIGGER evidence_head_is_not_removed
    BEFORE DELETE OR TRUNCATE ON qafila.evidence_head
    FOR EACH STATEMENT EXECUTE FUNCTION qafila.refuse_change();
CREATE TRIGGER evidence_head_follows_its_row
    BEFORE UPDATE ON qafila.evidence_head
    FOR EACH ROW EXECUTE FUNCTION qafila.refuse_another_head();

ALTER TABLE qafila.evidence ENABLE ALWAYS TRIGGER evidence_is_append_only;
ALTER TABLE qafila.evidence ENABLE ALWAYS TRIGGER evidence_is_not_truncated;
ALTER TABLE qafila.evidence ENABLE ALWAYS TRIGGER evidence_follows_the_head;
ALTER TABLE qafila.evidence_head ENABLE ALWAYS TRIGGER evidence_head_is_not_removed;
ALTER TABLE qafila.evidence_head ENABLE ALWAYS TRIGGER evidence_head_follows_its_row;
