-- When each watchdog last looked at the leases, so that a screen can say whether one is awake.
-- Safe before the code changes.

CREATE TABLE qafila.watchdog (
    name text PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
