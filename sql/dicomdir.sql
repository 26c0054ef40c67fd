-- What storage/retrieval/dicomdir_file.py reads.

-- name: dicomdir_levels
SELECT st.attributes AS study, se.series_instance_uid, se.attributes AS series
FROM studies st JOIN series se ON se.study = st.id
WHERE st.study_instance_uid = $1 AND se.series_instance_uid = ANY($2::text[]);

-- The metadata of an instance up to its functional groups: megabytes that no directory has anything of. A quote inside
-- a JSON string is escaped, so what is looked for can be a key only, of the data set or, oddly, of an item.
-- name: dicomdir_heads
SELECT sop_instance_uid, version,
    CASE WHEN at > 0 THEN substring(metadata FOR at - 1) || '}'::bytea ELSE metadata END AS head
FROM stored_instances CROSS JOIN LATERAL (
    SELECT coalesce(nullif(position(',"52009229":{"vr"'::bytea IN metadata), 0),
                    position(',"52009230":{"vr"'::bytea IN metadata)) AS at) groups
WHERE study_instance_uid = $1 AND series_instance_uid = $2 AND sop_instance_uid = ANY($3::text[]);
