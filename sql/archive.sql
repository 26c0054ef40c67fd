-- What storage/archive.py reads; it puts the condition on the UIDs at the end.

-- name: instances
SELECT study_instance_uid, series_instance_uid, sop_instance_uid, sop_class_uid, transfer_syntax_uid, blob, size,
    sha256, layout, version, short_checksums
FROM stored_instances

-- name: metadata_list
SELECT id, octet_length(metadata) AS bytes, version FROM stored_instances

-- name: metadata
SELECT i.study_instance_uid, i.series_instance_uid, i.sop_instance_uid, i.metadata
FROM unnest($1::bigint[]) WITH ORDINALITY AS wanted (id, place) JOIN stored_instances i USING (id)
ORDER BY wanted.place;

-- name: frames
SELECT study_instance_uid, series_instance_uid, sop_instance_uid, sop_class_uid, transfer_syntax_uid, blob, size,
    sha256, layout, version, short_checksums,
    ARRAY(SELECT substring(frame_table FROM (number - 1) * 16 + 1 FOR 16)
          FROM unnest($4::integer[]) WITH ORDINALITY AS wanted (number, place) ORDER BY place) AS entries,
    ARRAY(SELECT substring(frame_checksums FROM (number - 1) * 4 + 1 FOR 4)
          FROM unnest($4::integer[]) WITH ORDINALITY AS wanted (number, place) ORDER BY place) AS frame_checksums
FROM stored_instances

-- name: bulk_data
SELECT study_instance_uid, series_instance_uid, sop_instance_uid, sop_class_uid, transfer_syntax_uid, blob, size,
    sha256, layout, version, short_checksums, bulk_data->$4::text AS place
FROM stored_instances

-- name: checksums
SELECT checksums FROM instances WHERE blob = $1;

-- name: changes
SELECT sequence, at, kind, study_instance_uid, series_instance_uid, sop_instance_uid FROM changes
WHERE sequence > $1 ORDER BY sequence LIMIT $2;

-- name: blobs_with_rows
SELECT blob FROM instances WHERE blob = ANY($1);

-- name: discarded_blobs
SELECT blob FROM discarded_blobs d WHERE NOT EXISTS (SELECT FROM instances i WHERE i.blob = d.blob) ORDER BY at;
