-- What storage/index/writer.py and storage/index/rows.py run.

-- name: rows_of_instances
SELECT st.study_instance_uid, se.series_instance_uid, i.sop_instance_uid, i.id, i.sha256, i.blob, i.size,
    i.sop_class_uid
FROM instances i JOIN series se ON se.id = i.series JOIN studies st ON st.id = se.study
WHERE i.sop_instance_uid = ANY($1);

-- name: data_set_of_instance
SELECT transfer_syntax_uid, (layout ->> 'dataset_offset')::bigint AS dataset_offset FROM instances WHERE id = $1;

-- name: agrees
SELECT metadata = $2 AND (frame_checksums IS NULL OR frame_checksums = $3) FROM instances WHERE id = $1;

-- name: present_studies
SELECT study_instance_uid FROM studies WHERE study_instance_uid = ANY($1);

-- name: lock_studies
SELECT id, study_instance_uid, modalities, sop_classes FROM studies
WHERE study_instance_uid = ANY($1) ORDER BY study_instance_uid FOR UPDATE;

-- name: rows_of_series
SELECT se.id, se.study, se.series_instance_uid, se.number_of_instances
FROM series se JOIN unnest($1::bigint[], $2::text[]) AS wanted (study, series_instance_uid)
    ON se.study = wanted.study AND se.series_instance_uid = wanted.series_instance_uid
ORDER BY se.study, se.series_instance_uid;

-- name: append_changes
INSERT INTO changes (kind, study_instance_uid, series_instance_uid, sop_instance_uid)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]);

-- name: new_version
SELECT nextval('versions');

-- name: count_series
UPDATE series SET number_of_instances = number_of_instances + $2, version = $3 WHERE id = $1;

-- name: count_study
UPDATE studies SET number_of_series = number_of_series + $2, number_of_instances = number_of_instances + $3,
    modalities = $4, sop_classes = $5, version = $6
WHERE id = $1;

-- name: discard_blobs
-- By the clock, not the beginning of the transaction: they are deleted in the order in which they were replaced.
INSERT INTO discarded_blobs (blob, at) SELECT blob, clock_timestamp() FROM unnest($1::text[]) AS blob
ON CONFLICT (blob) DO NOTHING;

-- name: keep_blobs
-- One that was stored by a commit whose answer was lost, replaced, and is stored again.
DELETE FROM discarded_blobs WHERE blob = ANY($1);

-- name: forgettable_blobs
SELECT blob FROM discarded_blobs d
WHERE at < now() - $1::interval AND NOT EXISTS (SELECT FROM instances i WHERE i.blob = d.blob)
ORDER BY at LIMIT 100;
