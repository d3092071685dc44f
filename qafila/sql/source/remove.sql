-- Takes out of the source's database what install.sql put in; whatever else depends on it makes
-- this fail and is named. The triggers are dropped before, wherever their table is by now.

DROP FUNCTION {function}();
DROP TABLE {outbox};
DROP SCHEMA {schema};
