-- name: look
-- Sessions at work beside this one, and the lag of the slowest standby, None without standbys or
-- without the right to see them. Takes no lock.
SELECT (SELECT count(*)
        FROM pg_stat_activity
        WHERE state = 'active'
          AND backend_type = 'client backend'
          AND pid <> pg_backend_pid()),
       (SELECT extract(epoch FROM max(replay_lag))
        FROM pg_stat_replication);
