-- What storage.work.commitments, storage.upkeep.commitment_check and storage.work.commitments_asked run.

-- name: add_commitment
-- The one row of this transaction; whether it is of another request shows in its token.
INSERT INTO commitments (token, transaction_uid, requester, called_ae_title, association, number_of_instances, state)
VALUES ($1, $2, $3, $4, $5, $6, 'checking')
ON CONFLICT (requester, transaction_uid) WHERE NOT duplicate DO UPDATE SET token = commitments.token
RETURNING id, token;

-- name: add_duplicate_commitment
INSERT INTO commitments (token, transaction_uid, requester, called_ae_title, association, number_of_instances, state,
    duplicate, number_failed, checked_at)
VALUES ($1, $2, $3, $4, $5, $6, 'reporting', true, $6, now())
ON CONFLICT (token) DO UPDATE SET token = commitments.token
RETURNING id;

-- name: add_commitment_instances
INSERT INTO commitment_instances (commitment, number, sop_class_uid, sop_instance_uid, failure_reason)
SELECT $1, number, sop_class_uid, sop_instance_uid, $4
FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS given (sop_class_uid, sop_instance_uid, number)
ON CONFLICT DO NOTHING;

-- name: claim_commitment
UPDATE commitments SET claimed_by = $1, claimed_until = now() + $2::interval
WHERE id = (SELECT id FROM commitments
            WHERE state = $3 AND due_at <= now() AND (claimed_until IS NULL OR claimed_until < now())
            ORDER BY due_at, id FOR UPDATE SKIP LOCKED LIMIT 1)
RETURNING *;

-- name: requester_to_report_to
SELECT requester FROM commitments
WHERE state = 'reporting' AND due_at <= now() AND (claimed_until IS NULL OR claimed_until < now())
    AND requester <> ALL($1::text[])
ORDER BY due_at, id LIMIT 1;

-- name: claim_reports
UPDATE commitments SET claimed_by = $1, claimed_until = now() + $2::interval
WHERE id IN (SELECT id FROM commitments
             WHERE state = 'reporting' AND requester = $3 AND (due_at <= now() OR $4)
                 AND (claimed_until IS NULL OR claimed_until < now())
             ORDER BY id FOR UPDATE SKIP LOCKED LIMIT $5)
RETURNING *;

-- name: extend_claims
UPDATE commitments SET claimed_until = now() + $3::interval WHERE id = ANY($2) AND claimed_by = $1;

-- name: release_claims
UPDATE commitments SET claimed_by = NULL, claimed_until = NULL WHERE id = ANY($2) AND claimed_by = $1;

-- name: instances_to_check
SELECT number, sop_class_uid, sop_instance_uid FROM commitment_instances
WHERE commitment = $1 AND failure_reason IS NULL ORDER BY number LIMIT $2;

-- name: stored_files_of_instances
SELECT sop_instance_uid, sop_class_uid, blob, size, sha256 FROM instances WHERE sop_instance_uid = ANY($1);

-- name: record_checks
UPDATE commitment_instances c SET failure_reason = found.failure_reason
FROM unnest($2::integer[], $3::integer[]) AS found (number, failure_reason)
WHERE c.commitment = $1 AND c.number = found.number;

-- name: record_failures
UPDATE commitment_instances c SET failure_reason = found.failure_reason
FROM unnest($2::text[], $3::integer[]) AS found (sop_instance_uid, failure_reason)
WHERE c.commitment = $1 AND c.sop_instance_uid = found.sop_instance_uid;

-- name: fail_unchecked
UPDATE commitment_instances SET failure_reason = $2 WHERE commitment = $1 AND failure_reason IS NULL;

-- name: finish_step
-- On to the next state; nothing is asked of others when nothing here is sound.
WITH failed AS (SELECT count(*) FROM commitment_instances WHERE commitment = $1 AND failure_reason <> 0)
UPDATE commitments SET claimed_by = NULL, claimed_until = NULL, due_at = now(), attempts = 0, problem = $4,
    state = CASE WHEN $3 = 'asking' AND failed.count = number_of_instances THEN 'reporting' ELSE $3 END,
    number_failed = failed.count, checked_at = coalesce(checked_at, now())
FROM failed WHERE id = $1 AND claimed_by = $2;

-- name: put_off
-- Until when it is tried is fixed by the first attempt that failed.
UPDATE commitments SET claimed_by = NULL, claimed_until = NULL, attempts = attempts + 1, problem = $3,
    state = CASE WHEN state = 'reporting' AND give_up_at <= now() THEN 'parked' ELSE state END,
    give_up_at = CASE WHEN state = 'reporting' THEN coalesce(give_up_at, now() + $5::interval) END,
    due_at = CASE WHEN state = 'reporting'
                  THEN least(now() + $4::interval, coalesce(give_up_at, now() + $5::interval))
                  ELSE now() + $4::interval END
WHERE id = $1 AND claimed_by = $2;

-- name: record_delivery
-- Whoever has claimed it meanwhile: it did arrive.
UPDATE commitments SET claimed_by = NULL, claimed_until = NULL, state = 'reported', reported_at = now(),
    attempts = attempts + 1, problem = '', delivered_by = $2
WHERE id = $1 AND state IN ('reporting', 'parked');

-- name: resend_commitment
UPDATE commitments SET state = 'reporting', due_at = now(), attempts = 0, give_up_at = NULL, reported_at = NULL,
    delivered_by = NULL
WHERE id = $1 AND state IN ('reporting', 'reported', 'parked')
RETURNING *;

-- name: commitments
SELECT * FROM commitments
WHERE (cardinality($1::text[]) = 0 OR state = ANY($1)) AND ($2::bigint IS NULL OR id < $2) ORDER BY id DESC LIMIT $3;

-- name: commitment
SELECT * FROM commitments WHERE id = $1;

-- name: instances_of_commitment
SELECT sop_class_uid, sop_instance_uid, failure_reason FROM commitment_instances
WHERE commitment = $1 AND ($2::integer IS NULL OR failure_reason = $2) ORDER BY number;

-- name: forget_commitments
-- Those reported $1 ago, and those whose report was given up $2 ago.
DELETE FROM commitments WHERE id IN (
    SELECT id FROM commitments WHERE state = 'reported' AND reported_at < now() - $1::interval
        OR state = 'parked' AND give_up_at < now() - $2::interval
    LIMIT 100);

-- name: ask_commitment
INSERT INTO commitments_asked (transaction_uid, peer) VALUES ($1, $2);

-- name: answer_asked_commitment
UPDATE commitments_asked SET answered_at = coalesce(answered_at, now()), committed = $2, failed = $3,
    failure_reasons = $4
WHERE transaction_uid = $1
RETURNING transaction_uid;

-- name: answer_to_asked_commitment
SELECT committed, failed, failure_reasons FROM commitments_asked
WHERE transaction_uid = $1 AND answered_at IS NOT NULL;

-- name: forget_asked_commitments
DELETE FROM commitments_asked WHERE asked_at < now() - $1::interval;
