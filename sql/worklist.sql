-- What storage/worklist/items.py and storage/worklist/performed_steps.py run.

-- name: add_worklist_item
INSERT INTO worklist_items (id, study_instance_uid, accession_number, requested_procedure_id,
    requested_procedure_priority, admission_id, patient_id, patient_sex, patient_name, referring_physician_name,
    requesting_physician, attributes)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (id) DO NOTHING
RETURNING version;

-- name: replace_worklist_item
UPDATE worklist_items SET study_instance_uid = $2, accession_number = $3, requested_procedure_id = $4,
    requested_procedure_priority = $5, admission_id = $6, patient_id = $7, patient_sex = $8, patient_name = $9,
    referring_physician_name = $10, requesting_physician = $11, attributes = $12, version = version + 1,
    updated_at = now(),
    former_patient_ids = CASE WHEN study_instance_uid <> $2 THEN '{}'
        WHEN lower(patient_id) = lower($7) THEN former_patient_ids
        ELSE array_append(former_patient_ids, lower(patient_id)) END
WHERE id = $1 RETURNING version;

-- name: lock_worklist_item
SELECT version FROM worklist_items WHERE id = $1 FOR UPDATE;

-- name: remove_worklist_steps
DELETE FROM worklist_steps WHERE item = $1;

-- name: add_worklist_step
INSERT INTO worklist_steps (item, number, scheduled_procedure_step_id, station_ae_titles, start_at, modality,
    performing_physician_name, status, attributes)
VALUES ($1, $2, $3, $4, $5, $6, $7, coalesce($8, 'SCHEDULED'), $9);

-- name: take_over_progress
-- For steps whose status was not given: what has been performed of them already.
UPDATE worklist_steps s SET status = p.status FROM worklist_progress p
WHERE s.item = $1 AND p.item = $1 AND p.number = s.number AND s.number = ANY($2::integer[]) AND s.status <> p.status;

-- name: worklist_items
SELECT w.id, w.version, w.attributes,
    jsonb_agg(jsonb_build_array(s.status, s.attributes) ORDER BY s.number) AS steps
FROM unnest($1::uuid[]) WITH ORDINALITY AS wanted (id, place)
JOIN worklist_items w USING (id) JOIN worklist_steps s ON s.item = w.id
GROUP BY w.id, wanted.place ORDER BY wanted.place;

-- name: same_worklist_item
SELECT w.id FROM worklist_items w JOIN worklist_steps s ON s.item = w.id
WHERE w.study_instance_uid = $1 AND s.scheduled_procedure_step_id = ANY($2::text[]) AND lower(w.patient_id) = lower($3)
ORDER BY w.created_at, w.id LIMIT 1;

-- name: forget_worklist_items
-- Those of which every step was to start before the time $1, but for what is still being performed.
DELETE FROM worklist_items WHERE id IN (
    SELECT item FROM worklist_steps GROUP BY item
    HAVING bool_and(start_at BETWEEN '0' AND $1 AND status <> 'STARTED') LIMIT 100);

-- name: delete_worklist_item
DELETE FROM worklist_items WHERE id = $1 RETURNING id;

-- name: add_performed_step
INSERT INTO performed_steps (sop_instance_uid, status, wrong_entry, calling_ae_title, start_at, patient_id, modality,
    attributes, warnings)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (sop_instance_uid) DO NOTHING
RETURNING version;

-- name: lock_performed_step
SELECT status, attributes, warnings, calling_ae_title FROM performed_steps WHERE sop_instance_uid = $1 FOR UPDATE;

-- name: change_performed_step
UPDATE performed_steps SET status = $2, wrong_entry = $3, attributes = $4, warnings = $5, version = version + 1,
    updated_at = now()
WHERE sop_instance_uid = $1;

-- name: add_performed_request
INSERT INTO performed_requests (performed_step, number, study_instance_uid, accession_number,
    scheduled_procedure_step_id, study_was_scheduled)
VALUES ($1, $2, $3, $4, $5, EXISTS (SELECT FROM worklist_items w WHERE w.study_instance_uid = $3));

-- name: add_performed_message
INSERT INTO performed_step_messages (performed_step, number, operation, attributes)
SELECT $1, coalesce(max(number), 0) + 1, $2, $3 FROM performed_step_messages WHERE performed_step = $1
RETURNING number;

-- name: performed_messages
SELECT performed_step, number, operation, attributes, received_at FROM performed_step_messages
WHERE performed_step = $1 ORDER BY number;

-- name: performed_message
SELECT performed_step, number, operation, attributes, received_at FROM performed_step_messages
WHERE performed_step = $1 AND number = $2;

-- name: followers_of_performed_steps
SELECT ae_title FROM peers WHERE forward_performed_steps AND ae_title <> $1 ORDER BY ae_title;

-- name: performed_delivered
SELECT delivered FROM performed_step_deliveries WHERE performed_step = $1 AND peer = $2;

-- name: note_performed_delivery
INSERT INTO performed_step_deliveries AS d (performed_step, peer, delivered) VALUES ($1, $2, $3)
ON CONFLICT (performed_step, peer) DO UPDATE SET delivered = greatest(d.delivered, excluded.delivered);

-- name: lock_items_performed
SELECT w.id FROM worklist_items w
WHERE w.id IN (SELECT item FROM performed_worklist_steps WHERE sop_instance_uid = $1) ORDER BY w.id FOR UPDATE;

-- name: note_progress
WITH changed AS (
    UPDATE worklist_steps s SET status = p.status FROM worklist_progress p
    WHERE s.item = $1 AND p.item = $1 AND p.number = s.number AND s.status <> p.status
        AND EXISTS (SELECT FROM performed_worklist_steps l
                    WHERE l.sop_instance_uid = $2 AND l.item = s.item AND l.number = s.number)
    RETURNING s.item)
UPDATE worklist_items SET version = version + 1, updated_at = now() WHERE id IN (SELECT item FROM changed);

-- name: performed_step
SELECT p.*,
    ARRAY(SELECT DISTINCT item FROM performed_worklist_steps l WHERE l.sop_instance_uid = p.sop_instance_uid) AS items
FROM performed_steps p WHERE sop_instance_uid = $1;

-- name: performed_steps
SELECT p.*, ARRAY[]::uuid[] AS items
FROM performed_steps p
WHERE ($1::text IS NULL OR p.status = $1) AND ($2::text IS NULL OR p.patient_id = $2)
    AND ($3::text IS NULL OR p.modality = $3) AND ($4::text IS NULL OR p.calling_ae_title = $4)
    AND ($5::text IS NULL OR p.start_at >= $5) AND ($6::text IS NULL OR p.start_at <= $6)
    AND ($7::text IS NULL OR EXISTS (SELECT FROM performed_requests r WHERE r.performed_step = p.sop_instance_uid
                                     AND r.study_instance_uid = $7))
    AND ($8::text IS NULL OR EXISTS (SELECT FROM performed_requests r WHERE r.performed_step = p.sop_instance_uid
                                     AND r.accession_number = $8))
ORDER BY p.start_at DESC, p.sop_instance_uid LIMIT $9 OFFSET $10;

-- name: stored_of
-- Which of the SOP Instance UIDs are in the archive.
SELECT DISTINCT sop_instance_uid FROM instances WHERE sop_instance_uid = ANY($1::text[]);
