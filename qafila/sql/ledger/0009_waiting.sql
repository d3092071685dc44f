-- What the worker of a shard waits for beside its databases: an embedder's limit, or one that is away.
-- Safe before the code changes.

ALTER TABLE qafila.shard ADD COLUMN waits_for text NOT NULL DEFAULT '';
