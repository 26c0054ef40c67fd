-- Checksums of every frame and of every block of 64 KiB of a stored file (storage/checksums.py), 4 bytes each: what was
-- read is compared with them before it is given out. NULL: not known yet, the scrub finds them out.
ALTER TABLE instances
    ADD COLUMN frame_checksums bytea,
    ADD COLUMN checksums bytea;
ALTER TABLE instances  -- so that substring() reads one chunk only
    ALTER COLUMN frame_checksums SET STORAGE EXTERNAL,
    ALTER COLUMN checksums SET STORAGE EXTERNAL;

-- The checksums of a file of many blocks are not read with every row: empty stands for them, see Archive.
CREATE OR REPLACE VIEW stored_instances AS
SELECT st.study_instance_uid, se.series_instance_uid, se.series_number, i.*,
    CASE WHEN octet_length(i.checksums) > 4096 THEN ''::bytea ELSE i.checksums END AS short_checksums
FROM instances i JOIN series se ON se.id = i.series JOIN studies st ON st.id = se.study;

-- Files that were read and found not to be what was stored (storage/damage.py); they count while a row names them.
CREATE TABLE damaged_files (
    blob                     text COLLATE "C" PRIMARY KEY,
    what                     text NOT NULL,               -- is wrong with it
    at                       timestamptz NOT NULL DEFAULT now(),
    asked_at                 timestamptz                  -- when peers were asked for the instance
);

-- How far the scrub (storage/scrub.py) has come in this round.
CREATE TABLE scrub (
    one                      boolean PRIMARY KEY DEFAULT true CHECK (one),
    begun_at                 timestamptz NOT NULL DEFAULT now(),
    last_row                 bigint NOT NULL DEFAULT 0,           -- instances up to this one were read
    files                    bigint NOT NULL DEFAULT 0,           -- that were read
    bytes                    bigint NOT NULL DEFAULT 0,           -- of them
    completed_at             timestamptz                          -- when all had been read
);
