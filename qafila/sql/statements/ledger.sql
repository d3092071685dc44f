-- name: insert_revision
-- Keep what was meant at the time: a new revision only when the digest is new. No lock needed:
-- the primary key decides a race.
INSERT INTO qafila.workload_revision (workload, revision, spec, digest)
SELECT %(workload)s, coalesce(max(revision), 0) + 1, %(spec)s, %(digest)s
FROM qafila.workload_revision
WHERE workload = %(workload)s
RETURNING revision;

-- name: latest_revision
-- The workload as it is meant now.
SELECT revision, spec, digest
FROM qafila.workload_revision
WHERE workload = %(workload)s
ORDER BY revision DESC
LIMIT 1;

-- name: list_workloads
-- Every workload ever applied.
SELECT DISTINCT workload
FROM qafila.workload_revision
ORDER BY workload;

-- name: put_connection
-- Settings without secrets; the newest wins.
INSERT INTO qafila.connection (name, kind, settings, has_secret)
VALUES (%(name)s, %(kind)s, %(settings)s, %(has_secret)s)
ON CONFLICT (name) DO UPDATE
SET kind = excluded.kind,
    settings = excluded.settings,
    has_secret = excluded.has_secret,
    recorded_at = now();

-- name: get_connection
-- One connection's settings.
SELECT kind, settings, has_secret
FROM qafila.connection
WHERE name = %(name)s;

-- name: open_generation
-- The next number for this workload, above its own and the target's; the primary key decides a race.
INSERT INTO qafila.generation (workload, number, revision, fingerprint, fingerprint_body, phase)
SELECT %(workload)s, greatest(max(number), %(above)s::integer) + 1, %(revision)s, %(fingerprint)s, %(body)s, %(phase)s
FROM qafila.generation
WHERE workload = %(workload)s
RETURNING workload, number, revision, fingerprint, phase, phase_since;

-- name: mean_anew
-- Only before anything was loaded, under the workload's advisory lock.
UPDATE qafila.generation
SET revision = %(revision)s,
    fingerprint = %(fingerprint)s,
    fingerprint_body = %(body)s
WHERE workload = %(workload)s
  AND number = %(number)s
RETURNING workload, number, revision, fingerprint, phase, phase_since;

-- name: newest_generation
-- The generation that a migration is about.
SELECT workload, number, revision, fingerprint, phase, phase_since
FROM qafila.generation
WHERE workload = %(workload)s
ORDER BY number DESC
LIMIT 1;

-- name: lock_generation
-- Hold the row while its phase is decided.
SELECT workload, number, revision, fingerprint, phase, phase_since
FROM qafila.generation
WHERE workload = %(workload)s
  AND number = %(number)s
FOR UPDATE;

-- name: read_generation
SELECT workload, number, revision, fingerprint, phase, phase_since
FROM qafila.generation
WHERE workload = %(workload)s
  AND number = %(number)s;

-- name: fingerprint_body
-- What the fingerprint was made of.
SELECT fingerprint_body
FROM qafila.generation
WHERE workload = %(workload)s
  AND number = %(number)s;

-- name: set_phase
-- Only after lock_generation, in the same transaction.
UPDATE qafila.generation
SET phase = %(phase)s,
    phase_since = now()
WHERE workload = %(workload)s
  AND number = %(number)s;

-- name: put_plan
-- A plan is applied once; the first one stays.
INSERT INTO qafila.plan (workload, generation, phase, body, digest)
VALUES (%(workload)s, %(generation)s, %(phase)s, %(body)s, %(digest)s)
ON CONFLICT (workload, generation, phase) DO NOTHING;

-- name: forget_plan
-- Part of a reload, with its shards and in one transaction with the plan that comes instead.
DELETE FROM qafila.plan
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND phase = %(phase)s;

-- name: get_plan
-- The plan as it was applied.
SELECT body
FROM qafila.plan
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND phase = %(phase)s;

-- name: lock_evidence_head
-- Serialise appends: one writer at a time holds the head row.
SELECT number, digest
FROM qafila.evidence_head
FOR UPDATE;

-- name: append_evidence
-- Only under lock_evidence_head.
INSERT INTO qafila.evidence
    (number, workload, generation, kind, run_id, verdict, sentence, recorded_at, body,
     previous, digest)
VALUES
    (%(number)s, %(workload)s, %(generation)s, %(kind)s, %(run_id)s, %(verdict)s, %(sentence)s,
     %(recorded_at)s, %(body)s, %(previous)s, %(digest)s);

-- name: appended_evidence
-- The row that was appended with this id, if it was. Only under lock_evidence_head.
SELECT number
FROM qafila.evidence
WHERE workload IS NOT DISTINCT FROM %(workload)s
  AND kind = %(kind)s
  AND body ->> 'append_id' = %(append_id)s;

-- name: move_evidence_head
-- Only under lock_evidence_head.
UPDATE qafila.evidence_head
SET number = %(number)s,
    digest = %(digest)s;

-- name: evidence_chain
-- Every row, in order, as the chain needs it.
SELECT number, workload, generation, kind, run_id, verdict, sentence, recorded_at, body,
       previous, digest
FROM qafila.evidence
ORDER BY number;

-- name: evidence_numbered
-- Some rows, in order, as the chain needs them.
SELECT number, workload, generation, kind, run_id, verdict, sentence, recorded_at, body,
       previous, digest
FROM qafila.evidence
WHERE number = ANY (%(numbers)s)
ORDER BY number;

-- name: answers_in_evidence
-- The rows that were written when some questions of these workloads were answered, in order.
SELECT number
FROM qafila.evidence
WHERE kind = 'approval'
  AND workload = ANY (%(workloads)s)
  AND body ->> 'id' = ANY (%(approvals)s)
ORDER BY number;

-- name: evidence_of
-- Rows of one workload and kind (any kind when NULL), newest first.
SELECT number, workload, generation, kind, run_id, verdict, sentence, recorded_at, body, digest
FROM qafila.evidence
WHERE workload = %(workload)s
  AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(generation)s::integer IS NULL OR generation = %(generation)s)
ORDER BY number DESC
LIMIT %(limit)s;

-- name: ask_approval
-- A question is asked once: asking again with the same id finds the first.
INSERT INTO qafila.approval
    (id, workload, generation, subject, question, asked_by_run, needed, requested_by, expires_at)
VALUES
    (%(id)s, %(workload)s, %(generation)s, %(subject)s, %(question)s, %(asked_by_run)s,
     %(needed)s, %(requested_by)s, clock_timestamp() + make_interval(secs => %(expires_s)s))
ON CONFLICT (id) DO NOTHING;

-- name: get_approval
-- One question; a pending one past its time reads as lapsed.
SELECT id, workload, generation, subject, question, asked_by_run, approval_run,
       CASE WHEN state = 'pending' AND expires_at <= clock_timestamp() THEN 'lapsed' ELSE state END
           AS state,
       decided_by, notes, asked_at, expires_at, decided_at, needed, requested_by,
       ARRAY(
           SELECT name
           FROM qafila.approval_answer AS a
           WHERE a.approval = q.id
             AND a.decision = 'approve'
           ORDER BY a.answered_at, a.person
       ) AS approved_by
FROM qafila.approval AS q
WHERE id = %(id)s;

-- name: is_over
-- Whether a time has passed, by the ledger's clock.
SELECT %(at)s <= clock_timestamp();

-- name: lock_approval
-- Hold the question while an answer to it is decided, so that two answers follow one another.
SELECT id
FROM qafila.approval
WHERE id = %(id)s
FOR UPDATE;

-- name: open_approvals
-- Questions that may still wait for a person, oldest first: also those that were closed, since
-- only evidence closes one.
SELECT id, workload, generation, subject, question, asked_by_run, approval_run, state,
       decided_by, notes, asked_at, expires_at, decided_at, needed, requested_by,
       ARRAY(
           SELECT name
           FROM qafila.approval_answer AS a
           WHERE a.approval = q.id
             AND a.decision = 'approve'
           ORDER BY a.answered_at, a.person
       ) AS approved_by
FROM qafila.approval AS q
WHERE state IN ('pending', 'approved')
  AND expires_at > clock_timestamp()
  AND (%(workload)s::text IS NULL OR workload = %(workload)s)
ORDER BY asked_at;

-- name: attach_approval_run
-- Remember which run shows the form.
UPDATE qafila.approval
SET approval_run = %(approval_run)s
WHERE id = %(id)s;

-- name: put_answer
-- Only under lock_approval; a person who approved may still say no.
INSERT INTO qafila.approval_answer (approval, person, name, decision, notes)
VALUES (%(id)s, %(person)s, %(name)s, %(decision)s, %(notes)s)
ON CONFLICT (approval, person) DO UPDATE
SET name = excluded.name,
    decision = excluded.decision,
    notes = excluded.notes,
    answered_at = excluded.answered_at;

-- name: answers_of
-- The answers to one question in order.
SELECT person, name, decision, notes
FROM qafila.approval_answer
WHERE approval = %(id)s
ORDER BY answered_at, person;

-- name: close_approval
-- Only under lock_approval: the last answer that was needed, or a no.
UPDATE qafila.approval
SET state = %(state)s,
    decided_by = %(decided_by)s,
    notes = %(notes)s,
    decided_at = clock_timestamp()
WHERE id = %(id)s;

-- name: take_lease
-- Take the right to move weights when nobody holds it or its heartbeat lapsed; the epoch rises,
-- also above what the router was last written with.
INSERT INTO qafila.lease
    (workload, epoch, holder, holder_pid, holder_run, generation, ttl_seconds, heartbeat)
VALUES
    (%(workload)s, %(above)s::bigint + 1, %(holder)s, %(pid)s, %(run)s, %(generation)s, %(ttl)s,
     clock_timestamp())
ON CONFLICT (workload) DO UPDATE
SET epoch = greatest(qafila.lease.epoch, %(above)s::bigint) + 1,
    holder = excluded.holder,
    holder_pid = excluded.holder_pid,
    holder_run = excluded.holder_run,
    generation = excluded.generation,
    ttl_seconds = excluded.ttl_seconds,
    heartbeat = excluded.heartbeat
WHERE qafila.lease.holder IS NULL
   OR %(force)s
   OR qafila.lease.heartbeat + make_interval(secs => qafila.lease.ttl_seconds) < clock_timestamp()
RETURNING epoch;

-- name: beat_lease
-- Still alive; no row when the lease was taken by somebody else.
UPDATE qafila.lease
SET heartbeat = clock_timestamp()
WHERE workload = %(workload)s
  AND epoch = %(epoch)s
  AND holder = %(holder)s
RETURNING epoch;

-- name: release_lease
-- Give it back; the epoch stays, so that it only ever rises.
UPDATE qafila.lease
SET holder = NULL,
    heartbeat = NULL
WHERE workload = %(workload)s
  AND epoch = %(epoch)s;

-- name: read_lease
-- Who holds it, and whether the heartbeat lapsed.
SELECT workload, epoch, holder, holder_pid, holder_run, generation, ttl_seconds,
       extract(epoch FROM clock_timestamp() - heartbeat)::double precision AS age_seconds
FROM qafila.lease
WHERE workload = %(workload)s;

-- name: raise_epoch
-- What was written to the router without this ledger fences off whoever holds the lease; no row
-- when the lease is newer than that.
INSERT INTO qafila.lease (workload, epoch, ttl_seconds)
VALUES (%(workload)s, %(epoch)s, 5)
ON CONFLICT (workload) DO UPDATE
SET epoch = excluded.epoch,
    holder = NULL,
    heartbeat = NULL
WHERE qafila.lease.epoch <= excluded.epoch
RETURNING epoch;

-- name: spooled_evidence
-- Whether a rollback without a ledger was taken in already.
SELECT number
FROM qafila.evidence
WHERE workload = %(workload)s
  AND kind = %(kind)s
  AND body ->> 'spool_id' = %(id)s;

-- name: held_leases
-- Every lease that is held, with its heartbeat as it stands: a watchdog compares two looks.
SELECT workload, epoch, holder, holder_pid, holder_run, generation, ttl_seconds,
       extract(epoch FROM clock_timestamp() - heartbeat)::double precision AS age_seconds,
       heartbeat::text AS beat
FROM qafila.lease
WHERE holder IS NOT NULL
ORDER BY workload;

-- name: lapsed_leases
-- Held, but without a sign of life: the watchdog's work.
SELECT workload, epoch, holder, holder_pid, holder_run, generation, ttl_seconds,
       extract(epoch FROM clock_timestamp() - heartbeat)::double precision AS age_seconds
FROM qafila.lease
WHERE holder IS NOT NULL
  AND heartbeat + make_interval(secs => ttl_seconds) < clock_timestamp();

-- name: transaction_began_at
-- What now() says in this transaction.
SELECT now();

-- name: issue_certificate
INSERT INTO qafila.certificate
    (workload, generation, router, versions, seconds_to_zero, failed_requests, evidence_number,
     issued_at, expires_at)
VALUES
    (%(workload)s, %(generation)s, %(router)s, %(versions)s, %(seconds_to_zero)s,
     %(failed_requests)s, %(evidence_number)s, now(),
     now() + make_interval(hours => %(valid_hours)s))
RETURNING id, expires_at;

-- name: valid_certificates
-- Certificates of this generation on this router that have not expired, newest first.
SELECT id, workload, generation, router, versions, seconds_to_zero, failed_requests,
       evidence_number, issued_at, expires_at
FROM qafila.certificate
WHERE workload = %(workload)s
  AND generation = %(generation)s
  AND router = %(router)s
  AND expires_at > now()
ORDER BY id DESC;

-- name: newest_certificates
-- Whatever their generation, newest first: for the sentence of a refusal, and for status.
SELECT id, workload, generation, router, versions, seconds_to_zero, failed_requests,
       evidence_number, issued_at, expires_at
FROM qafila.certificate
WHERE workload = %(workload)s
ORDER BY id DESC;

-- name: identity
SELECT id::text
FROM qafila.ledger_identity;

-- name: list_phases
-- Every generation of a workload and where its migration stands.
SELECT number, phase
FROM qafila.generation
WHERE workload = %(workload)s;

-- name: adopt_generation
-- A generation that another ledger made; a row that this ledger had under its number held nothing.
INSERT INTO qafila.generation (workload, number, revision, fingerprint, fingerprint_body, phase)
VALUES (%(workload)s, %(number)s, %(revision)s, %(fingerprint)s, %(body)s, %(phase)s)
ON CONFLICT (workload, number) DO UPDATE
SET revision = excluded.revision,
    fingerprint = excluded.fingerprint,
    fingerprint_body = excluded.fingerprint_body,
    phase = excluded.phase,
    phase_since = now();
