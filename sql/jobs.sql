-- What storage.work.jobs and storage.work.completion do. `job_rows` is put before the conditions of the reading statements.

-- name: job_rows
SELECT j.*, coalesce(i.failures, '[]') AS failures
FROM jobs j LEFT JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_object('item', item, 'error', error) ORDER BY item) AS failures
    FROM (SELECT item, error FROM job_items WHERE job = j.id AND error IS NOT NULL ORDER BY item LIMIT 100) AS first) i
    ON TRUE

-- name: claim_job
-- $4 the run of the supervisor, $5 the worker, $6 whether jobs that are suspected of the death of a worker count.
UPDATE jobs SET state = 'running', holder = $1, leased_until = now() + $2::interval, attempts = attempts + 1,
    started_at = coalesce(started_at, now()), error = '', run = $4, worker = $5,
    deaths = deaths + (state = 'running' AND run = $4 AND worker IS DISTINCT FROM $5)::integer
WHERE id = (SELECT id FROM jobs
            WHERE kind = ANY($3) AND (state IN ('queued', 'waiting') AND next_attempt_at <= now()
                                      OR state = 'running' AND leased_until < now())
                AND ($6 OR deaths = 0 AND NOT (state = 'running' AND run = $4 AND worker IS DISTINCT FROM $5))
            ORDER BY next_attempt_at, id FOR UPDATE SKIP LOCKED LIMIT 1)
RETURNING id;

-- name: keep_job
UPDATE jobs SET leased_until = now() + $3::interval, total = coalesce($4, total), done = $5, failed = $6,
    attempts = CASE WHEN $5 > done THEN 1 ELSE attempts END, deaths = CASE WHEN $5 > done THEN 0 ELSE deaths END
WHERE id = $1 AND holder = $2 AND state = 'running'
RETURNING id;

-- name: settle_items
INSERT INTO job_items (job, item, error) SELECT $1, * FROM unnest($2::text[], $3::text[])
ON CONFLICT (job, item) DO UPDATE SET error = excluded.error;

-- name: let_go_of_job
-- $3 the state it is in afterwards, $4 why, $5 when it is due again.
UPDATE jobs SET state = $3, error = $4, next_attempt_at = now() + $5::interval, holder = NULL, leased_until = NULL,
    attempts = CASE WHEN $3 = 'queued' THEN greatest(attempts - 1, 0) ELSE attempts END,
    deaths = CASE WHEN $3 = 'queued' THEN deaths ELSE 0 END,
    finished_at = CASE WHEN $3 IN ('done', 'failed', 'parked') THEN now() END
WHERE id = $1 AND holder = $2 AND state = 'running'
RETURNING id;

-- name: cancel_job
UPDATE jobs SET state = 'cancelled', holder = NULL, leased_until = NULL, finished_at = now()
WHERE id = $1 AND state IN ('queued', 'running', 'waiting', 'parked')
RETURNING id;

-- name: retry_job
WITH again AS (
    DELETE FROM job_items WHERE job = $1 AND error IS NOT NULL
        AND (SELECT state FROM jobs WHERE id = $1) IN ('waiting', 'failed', 'parked', 'cancelled'))
UPDATE jobs SET state = 'queued', attempts = 0, failed = 0, next_attempt_at = now(), finished_at = NULL
WHERE id = $1 AND state IN ('waiting', 'failed', 'parked', 'cancelled')
RETURNING id;

-- name: old_jobs
DELETE FROM jobs WHERE finished_at < now() - $1::interval;

-- name: next_job
-- Seconds until something is due, or a lease ends.
SELECT extract(epoch FROM min(CASE WHEN state = 'running' THEN leased_until ELSE next_attempt_at END) - now())::float8
FROM jobs WHERE kind = ANY($1) AND state IN ('queued', 'waiting', 'running');

-- name: feed_position
SELECT sequence FROM feed_positions WHERE reader = $1 FOR UPDATE;

-- name: growing_studies
INSERT INTO growing_studies (study_instance_uid, changed_at) SELECT * FROM unnest($1::text[], $2::timestamptz[])
ON CONFLICT (study_instance_uid) DO UPDATE SET changed_at = greatest(growing_studies.changed_at, excluded.changed_at);

-- name: complete_studies
DELETE FROM growing_studies WHERE study_instance_uid IN (
    SELECT study_instance_uid FROM growing_studies WHERE changed_at < now() - $1::interval
    ORDER BY changed_at LIMIT 100 FOR UPDATE SKIP LOCKED)
RETURNING study_instance_uid;

-- name: move_feed
UPDATE feed_positions SET sequence = $2 WHERE reader = $1;

-- name: skip_feed
UPDATE feed_positions SET sequence = greatest(sequence, coalesce((SELECT max(sequence) FROM changes), 0))
WHERE reader = $1;

-- name: performed_steps_of_series
SELECT se.attributes->'00081111'->'Value' AS items FROM series se JOIN studies st ON st.id = se.study
WHERE st.study_instance_uid = $1 AND jsonb_typeof(se.attributes->'00081111'->'Value') = 'array'
ORDER BY se.series_number, se.series_instance_uid;
