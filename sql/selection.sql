-- What storage/retrieval/selection.py reads; it puts the condition and the order at the end of the first.

-- name: chosen_instances
SELECT i.id, st.study_instance_uid, se.series_instance_uid, i.sop_instance_uid, i.sop_class_uid, i.transfer_syntax_uid
FROM instances i JOIN series se ON se.id = i.series JOIN studies st ON st.id = se.study

-- name: files_of_chosen
SELECT id, study_instance_uid, series_instance_uid, sop_instance_uid, sop_class_uid, transfer_syntax_uid, blob, size,
    sha256, layout, version, short_checksums
FROM stored_instances WHERE id = ANY($1::bigint[]);
