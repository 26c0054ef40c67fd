-- What was performed belongs to a scheduled step of the same patient, and its order counts only where no study says more.
-- (An order number alone took the other exams of the order off the worklist, and those of other patients that had it.)

-- Patient IDs, in small letters, that the item had before under this study: the modality goes on with the one it was
-- given when that of an unknown patient is corrected during the exam (IHE Patient Information Reconciliation).
ALTER TABLE worklist_items ADD COLUMN former_patient_ids text[] COLLATE "C" NOT NULL DEFAULT '{}';

-- Whether an item had this study when the step was created: it stays that study's when the item is deleted meanwhile.
ALTER TABLE performed_requests ADD COLUMN study_was_scheduled boolean NOT NULL DEFAULT false;
UPDATE performed_requests SET study_was_scheduled = true
WHERE study_instance_uid IN (SELECT study_instance_uid FROM worklist_items);

CREATE TEMPORARY TABLE progress_before ON COMMIT DROP AS SELECT item, number, status FROM worklist_progress;

-- Which performed step belongs to which scheduled one: by its ID within the study, without an ID when the study has one
-- step only; within the order when the modality made up a study of its own and the order has one such step. A Patient
-- ID that is unknown fits all, and neither case nor padding (the columns have none) makes another patient.
CREATE OR REPLACE VIEW performed_worklist_steps AS
SELECT s.item, s.number, p.sop_instance_uid, p.status, p.wrong_entry
FROM performed_requests r
JOIN performed_steps p ON p.sop_instance_uid = r.performed_step
JOIN worklist_items w ON w.study_instance_uid = r.study_instance_uid
JOIN worklist_steps s ON s.item = w.id
WHERE (p.patient_id IS NULL OR lower(p.patient_id) = lower(w.patient_id)
        OR lower(p.patient_id) = ANY (w.former_patient_ids))
    AND (s.scheduled_procedure_step_id = r.scheduled_procedure_step_id
        OR (r.scheduled_procedure_step_id = ''
            AND NOT EXISTS (SELECT FROM worklist_items w2 JOIN worklist_steps s2 ON s2.item = w2.id
                            WHERE w2.study_instance_uid = w.study_instance_uid
                                AND (s2.item, s2.number) <> (s.item, s.number))))
UNION ALL
SELECT s.item, s.number, p.sop_instance_uid, p.status, p.wrong_entry
FROM performed_requests r
JOIN performed_steps p ON p.sop_instance_uid = r.performed_step
JOIN worklist_items w ON w.accession_number = r.accession_number
JOIN worklist_steps s ON s.item = w.id AND s.scheduled_procedure_step_id = r.scheduled_procedure_step_id
WHERE r.accession_number <> '' AND NOT r.study_was_scheduled
    AND (p.patient_id IS NULL OR lower(p.patient_id) = lower(w.patient_id))
    AND NOT EXISTS (SELECT FROM worklist_items own WHERE own.study_instance_uid = r.study_instance_uid)
    AND NOT EXISTS (SELECT FROM worklist_items w2 JOIN worklist_steps s2 ON s2.item = w2.id
                    WHERE w2.accession_number = w.accession_number AND w2.id <> w.id
                        AND s2.scheduled_procedure_step_id = s.scheduled_procedure_step_id
                        AND (p.patient_id IS NULL OR lower(p.patient_id) = lower(w2.patient_id)));

-- Statuses that followed from links that are no more; one that was given with the item since then stays.
WITH changed AS (
    UPDATE worklist_steps s SET status = coalesce(after.status, 'SCHEDULED')
    FROM progress_before b LEFT JOIN worklist_progress after USING (item, number)
    WHERE s.item = b.item AND s.number = b.number AND s.status = b.status
        AND s.status <> coalesce(after.status, 'SCHEDULED')
    RETURNING s.item)
UPDATE worklist_items SET version = version + 1, updated_at = now() WHERE id IN (SELECT item FROM changed);
