-- What storage/dicomdir_file.py reads.

-- name: dicomdir_levels
SELECT st.attributes AS study, se.series_instance_uid, se.attributes AS series
FROM studies st JOIN series se ON se.study = st.id
WHERE st.study_instance_uid = $1 AND se.series_instance_uid = ANY($2::text[]);

-- name: dicomdir_keys
SELECT sop_instance_uid, version,
    (SELECT jsonb_object_agg(key, value) FROM jsonb_each(metadata_json(metadata)) WHERE key = ANY($4::text[])) AS keys
FROM stored_instances
WHERE study_instance_uid = $1 AND series_instance_uid = $2 AND sop_instance_uid = ANY($3::text[]);
