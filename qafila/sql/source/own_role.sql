-- After install.sql, and alone where an earlier version was installed: only the role that Qafila
-- itself connects as may mark a write as its own. Any session can make the setting; session_user it
-- cannot change, except as a superuser. One transaction, so that no write goes uncaptured.

DROP TRIGGER {row_trigger} ON {table};
CREATE TRIGGER {row_trigger}
    AFTER INSERT OR UPDATE OR DELETE ON {table}
    FOR EACH ROW WHEN (current_setting('qafila.own_write', true) IS DISTINCT FROM 'on'
                       OR session_user IS DISTINCT FROM {role})
    EXECUTE FUNCTION {function}();
ALTER TABLE {table} ENABLE ALWAYS TRIGGER {row_trigger};
COMMENT ON SCHEMA {schema} IS {comment};
