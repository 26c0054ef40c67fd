-- The index over the stored files. It can be rebuilt from the files alone (`dicomweb reindex`).
-- Columns serve matching, sorting and counting only; what is answered comes from the JSON in `attributes`/`metadata`.
-- Text is normalised by storage/matching.py; COLLATE "C" so that prefixes and ranges use the indexes whatever the
-- collation of the database.

CREATE TABLE studies (
    id                       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    study_instance_uid       text COLLATE "C" NOT NULL UNIQUE,
    study_date               text COLLATE "C",            -- YYYYMMDD
    study_time               text COLLATE "C",            -- HHMMSSffffff
    accession_number         text COLLATE "C",
    study_id                 text COLLATE "C",
    study_description        text COLLATE "C",
    patient_id               text COLLATE "C",
    issuer_of_patient_id     text COLLATE "C",
    patient_birth_date       text COLLATE "C",
    patient_sex              text COLLATE "C",
    patient_name             text[] COLLATE "C" NOT NULL DEFAULT '{}',  -- the component groups, folded
    referring_physician_name text[] COLLATE "C" NOT NULL DEFAULT '{}',
    grams                    text[] COLLATE "C" NOT NULL DEFAULT '{}',  -- of the texts people search inside, storage/search_text.py
    sort_key                 text COLLATE "C" NOT NULL,   -- study_date || study_time, '' when unknown
    modalities               text[] COLLATE "C" NOT NULL DEFAULT '{}',
    sop_classes              text[] COLLATE "C" NOT NULL DEFAULT '{}',
    number_of_series         integer NOT NULL DEFAULT 0,
    number_of_instances      integer NOT NULL DEFAULT 0,
    attributes               jsonb NOT NULL,              -- DICOM JSON of the patient and study attributes
    version                  bigint NOT NULL DEFAULT 0,   -- grows with every change below this study
    created_at               timestamptz NOT NULL DEFAULT now()
);
-- What scans look at stays in the row; grams and attributes, only read for rows that are answered, lie apart. Measured
-- on 100 000 studies: otherwise names lie apart too, and searching inside them takes ten times as long.
ALTER TABLE studies SET (toast_tuple_target = 512, fillfactor = 85);
ALTER TABLE studies
    ALTER study_instance_uid SET STORAGE MAIN, ALTER study_date SET STORAGE MAIN, ALTER study_time SET STORAGE MAIN,
    ALTER accession_number SET STORAGE MAIN, ALTER study_id SET STORAGE MAIN, ALTER study_description SET STORAGE MAIN,
    ALTER patient_id SET STORAGE MAIN, ALTER issuer_of_patient_id SET STORAGE MAIN,
    ALTER patient_birth_date SET STORAGE MAIN, ALTER patient_sex SET STORAGE MAIN, ALTER patient_name SET STORAGE MAIN,
    ALTER referring_physician_name SET STORAGE MAIN, ALTER sort_key SET STORAGE MAIN, ALTER modalities SET STORAGE MAIN,
    ALTER sop_classes SET STORAGE MAIN;
ALTER TABLE studies ALTER grams SET STATISTICS 500;  -- enough to know how rare each gram is
-- Date ranges use it as well (sort_key begins with the date); modalities, so that counting needs no table.
CREATE INDEX studies_newest ON studies (sort_key DESC, study_instance_uid) INCLUDE (modalities);
CREATE INDEX studies_patient_id ON studies (patient_id);
CREATE INDEX studies_accession_number ON studies (accession_number);
CREATE INDEX studies_modalities ON studies USING gin (modalities);
CREATE INDEX studies_grams ON studies USING gin (grams);

-- Its argument. To the planner it is dear, so that grams are looked up in their index or checked last: a row's grams
-- cost more to read than everything else of the row.
CREATE FUNCTION needed_grams(grams text[]) RETURNS text[] LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE COST 100 AS $$
BEGIN
    RETURN grams;
END $$;

CREATE TABLE series (
    id                       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    study                    bigint NOT NULL REFERENCES studies,
    series_instance_uid      text COLLATE "C" NOT NULL,
    modality                 text COLLATE "C",
    series_number            bigint,
    series_description       text COLLATE "C",
    body_part_examined       text COLLATE "C",
    performed_procedure_step_start_date text COLLATE "C",
    performed_procedure_step_start_time text COLLATE "C",
    number_of_instances      integer NOT NULL DEFAULT 0,
    attributes               jsonb NOT NULL,              -- DICOM JSON of the series attributes
    version                  bigint NOT NULL DEFAULT 0,
    created_at               timestamptz NOT NULL DEFAULT now(),
    UNIQUE (study, series_instance_uid)
);
ALTER TABLE series SET (fillfactor = 85);
CREATE INDEX series_in_order ON series (series_number, series_instance_uid);
CREATE INDEX series_uid ON series (series_instance_uid);
CREATE INDEX series_modality ON series (modality, study);

CREATE TABLE instances (
    id                       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    series                   bigint NOT NULL REFERENCES series,
    sop_instance_uid         text COLLATE "C" NOT NULL,
    sop_class_uid            text COLLATE "C" NOT NULL,
    instance_number          bigint,
    transfer_syntax_uid      text COLLATE "C" NOT NULL,
    blob                     text COLLATE "C" NOT NULL UNIQUE,  -- name in the blob store
    size                     bigint NOT NULL,             -- bytes of the blob
    sha256                   bytea NOT NULL,              -- of the blob
    layout                   jsonb NOT NULL,              -- where the data set and its pixel data lie, storage/layout.py
    frame_table              bytea,                       -- 16 bytes a frame, storage/frame_table.py
    bulk_data                jsonb,                       -- attribute path -> [offset, length, vr], large values only
    attributes               jsonb NOT NULL,              -- DICOM JSON of what an instance search returns by default
    metadata                 bytea NOT NULL,              -- the whole DICOM JSON object, UTF-8; BulkDataURI = path only
    version                  bigint NOT NULL DEFAULT 0,
    created_at               timestamptz NOT NULL DEFAULT now(),
    UNIQUE (sop_instance_uid, series)
);
ALTER TABLE instances ALTER COLUMN frame_table SET STORAGE EXTERNAL;  -- so that substring() reads one chunk only
CREATE INDEX instances_of_series ON instances (series, instance_number, sop_instance_uid);
CREATE INDEX instances_in_order ON instances (instance_number, sop_instance_uid);

-- The metadata of an instance for matching; never an error, since one bad row must not break every search. jsonb has
-- no NUL: only its escape goes, not two backslashes before a u.
CREATE FUNCTION metadata_json(metadata bytea) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN convert_from(metadata, 'UTF8')::jsonb;
EXCEPTION WHEN OTHERS THEN
    BEGIN
        RETURN replace(replace(replace(convert_from(metadata, 'UTF8'),
            '\\', E'\x01'), '\u0000', ''), E'\x01', '\\')::jsonb;
    EXCEPTION WHEN OTHERS THEN
        RETURN '{}';
    END;
END $$;

-- An instance with the UIDs above it: what every read starts from.
CREATE VIEW stored_instances AS
SELECT st.study_instance_uid, se.series_instance_uid, se.series_number, i.*
FROM instances i JOIN series se ON se.id = i.series JOIN studies st ON st.id = se.study;

-- The ordered change feed. `sequence` is given out before the commit, so a reader must stop below the oldest
-- transaction still running: WHERE transaction < pg_snapshot_xmin(pg_current_snapshot()).
CREATE TABLE changes (
    sequence                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction              xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at                       timestamptz NOT NULL DEFAULT now(),
    kind                     text NOT NULL,               -- 'instance.stored', 'instance.replaced'
    study_instance_uid       text COLLATE "C" NOT NULL,
    series_instance_uid      text COLLATE "C",
    sop_instance_uid         text COLLATE "C"
);

-- Blobs that no row names any more; deleted after the transaction that let go of them, then forgotten here.
CREATE TABLE discarded_blobs (
    blob                     text COLLATE "C" PRIMARY KEY,
    at                       timestamptz NOT NULL DEFAULT now()
);
