-- Which columns of an application's table carry the comment that says Qafila made them. A row that
-- was there before this file keeps an empty list: its columns are known by the row alone, until the
-- next backfill marks them. Safe before the code changes.

ALTER TABLE qafila.column_generation ADD COLUMN marked text[] NOT NULL DEFAULT '{}';

COMMENT ON COLUMN qafila.column_generation.marked
    IS 'Of vectors and digests: the columns that Qafila made and marked with a comment.';
