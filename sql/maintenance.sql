-- What storage/index/removal.py, storage/upkeep/verify.py and storage/upkeep/reindex.py run.

-- name: lock_studies_of_instances
SELECT id FROM studies
WHERE id IN (SELECT se.study FROM instances i JOIN series se ON se.id = i.series WHERE i.id = ANY($1))
ORDER BY study_instance_uid FOR UPDATE;

-- name: append_removals
WITH removed AS (
    INSERT INTO changes (kind, study_instance_uid, series_instance_uid, sop_instance_uid)
    SELECT 'instance.removed', study_instance_uid, series_instance_uid, sop_instance_uid
    FROM stored_instances WHERE id = ANY($1)
    RETURNING 1)
SELECT nextval('versions');

-- name: remove_instances
DELETE FROM instances WHERE id = ANY($1);

-- name: recount_series
UPDATE series SET number_of_instances = (SELECT count(*) FROM instances i WHERE i.series = series.id)
WHERE study = ANY($1);

-- name: remove_empty_series
DELETE FROM series WHERE study = ANY($1) AND number_of_instances = 0;

-- name: recount_studies
UPDATE studies SET version = $2,
    number_of_series = (SELECT count(*) FROM series se WHERE se.study = studies.id),
    number_of_instances = (SELECT coalesce(sum(se.number_of_instances), 0) FROM series se WHERE se.study = studies.id),
    modalities = ARRAY(SELECT DISTINCT se.modality FROM series se
                       WHERE se.study = studies.id AND se.modality IS NOT NULL ORDER BY 1),
    sop_classes = ARRAY(SELECT DISTINCT i.sop_class_uid FROM series se JOIN instances i ON i.series = se.id
                        WHERE se.study = studies.id ORDER BY 1)
WHERE id = ANY($1);

-- name: remove_empty_studies
DELETE FROM studies WHERE id = ANY($1) AND number_of_instances = 0;

-- name: some_blobs
(SELECT blob FROM instances ORDER BY id LIMIT $1) UNION (SELECT blob FROM instances ORDER BY id DESC LIMIT $1);

-- name: rows_to_verify
SELECT id, study_instance_uid, series_instance_uid, sop_instance_uid, blob, size, sha256,
    checksums IS NULL AS is_unknown, EXISTS (SELECT FROM damaged_files d WHERE d.blob = s.blob) AS is_damaged
FROM stored_instances s WHERE id > $1 ORDER BY id LIMIT $2;

-- name: wrong_counters
SELECT study_instance_uid FROM studies st
WHERE number_of_series <> (SELECT count(*) FROM series se WHERE se.study = st.id)
    OR number_of_instances <> (SELECT count(*) FROM series se JOIN instances i ON i.series = se.id WHERE se.study = st.id)
    OR EXISTS (SELECT FROM series se WHERE se.study = st.id AND se.number_of_instances
               <> (SELECT count(*) FROM instances i WHERE i.series = se.id));

-- name: studies_by_uid
SELECT id FROM studies WHERE study_instance_uid = ANY($1) ORDER BY study_instance_uid FOR UPDATE;

-- name: follow_version
-- Whatever is replaced from now on has a higher number than the notes beside the files.
SELECT setval('versions', greatest($1, (SELECT last_value FROM versions)));

-- name: forget_index
TRUNCATE instances, series, studies, discarded_blobs, scrub RESTART IDENTITY;

-- name: note_damage
-- Nothing of a file that no row names any more; true when it is news.
INSERT INTO damaged_files (blob, what) SELECT blob, $2 FROM instances WHERE blob = $1
ON CONFLICT DO NOTHING RETURNING true;

-- name: forget_damage
DELETE FROM damaged_files WHERE blob = $1;

-- name: damaged_files
SELECT count(*) FROM damaged_files JOIN instances USING (blob);

-- name: frames_of_row
SELECT layout, frame_table FROM instances WHERE id = $1 AND blob = $2;

-- name: write_checksums
UPDATE instances SET checksums = $3, frame_checksums = $4 WHERE id = $1 AND blob = $2;

-- name: ask_for_damaged
WITH asked AS (
    UPDATE damaged_files SET asked_at = now() WHERE blob IN (
        SELECT blob FROM damaged_files JOIN instances USING (blob) WHERE asked_at IS NULL ORDER BY at LIMIT 100)
    RETURNING blob)
SELECT study_instance_uid, series_instance_uid, sop_instance_uid FROM stored_instances JOIN asked USING (blob);

-- name: damaged_among
SELECT id FROM damaged_files JOIN instances USING (blob) WHERE id = ANY($1);

-- name: scrub_place
INSERT INTO scrub DEFAULT VALUES ON CONFLICT (one) DO UPDATE SET one = true
RETURNING last_row, files, bytes, begun_at, completed_at,
    extract(epoch FROM begun_at + $1::interval - now())::float8 AS seconds_left;

-- name: scrubbed
UPDATE scrub SET last_row = $1, files = files + 1, bytes = bytes + $2;

-- name: end_round
UPDATE scrub SET completed_at = now();

-- name: begin_round
UPDATE scrub SET begun_at = now(), last_row = 0, files = 0, bytes = 0, completed_at = NULL;

-- name: bytes_to_scrub
SELECT coalesce(sum(size), 0)::bigint FROM instances WHERE id > $1;
