-- What storage/upkeep/statistics.py reads: numbers for people, cheap enough to be asked for every few seconds.

-- name: count_entities
SELECT count(*) AS studies, coalesce(sum(number_of_series), 0)::bigint AS series,
    coalesce(sum(number_of_instances), 0)::bigint AS instances
FROM studies;

-- name: sum_of_sizes
SELECT coalesce(sum(size), 0)::bigint FROM instances;

-- name: mean_size
SELECT avg(size)::float8 FROM instances TABLESAMPLE SYSTEM ($1);

-- name: database_facts
SELECT current_setting('server_version') AS version, pg_database_size(current_database()) AS bytes;

-- name: jobs_by_state
SELECT state, count(*) AS number FROM jobs GROUP BY state;

-- name: commitments_by_state
SELECT state, count(*) AS number FROM commitments GROUP BY state;

-- name: studies_by_modality
SELECT modality, count(*) AS studies FROM studies, unnest(modalities) AS modality
GROUP BY modality ORDER BY studies DESC, modality;

-- name: newest_change
SELECT coalesce(max(sequence), 0) FROM changes;

-- name: write_stock
INSERT INTO stock (unindexed_files) VALUES ($1)
ON CONFLICT (one) DO UPDATE SET unindexed_files = excluded.unindexed_files, counted_at = now();

-- name: unindexed_files
SELECT coalesce((SELECT unindexed_files FROM stock), 0);
