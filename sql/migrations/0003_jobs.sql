-- Durable background work (storage/jobs.py). A running job belongs to its holder until its lease ends; whoever finds a
-- lease ended takes the job up again.
CREATE TABLE jobs (
    id                       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind                     text NOT NULL,               -- 'send', 'pull', 'availability'
    state                    text NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'running', 'waiting', 'done', 'failed', 'parked', 'cancelled')),
    parameters               jsonb NOT NULL,
    total                    bigint,                      -- items of work, NULL while that is not known
    done                     bigint NOT NULL DEFAULT 0,   -- of them
    failed                   bigint NOT NULL DEFAULT 0,
    error                    text NOT NULL DEFAULT '',    -- why the last attempt ended
    attempts                 integer NOT NULL DEFAULT 0,  -- since an item was last done
    next_attempt_at          timestamptz NOT NULL DEFAULT now(),
    holder                   uuid,
    leased_until             timestamptz,
    created_at               timestamptz NOT NULL DEFAULT now(),
    started_at               timestamptz,
    finished_at              timestamptz
);
CREATE INDEX jobs_due ON jobs (next_attempt_at) WHERE state IN ('queued', 'waiting', 'running');
CREATE INDEX jobs_finished ON jobs (finished_at);

-- What of a job is settled, so that no restart does it again.
CREATE TABLE job_items (
    job                      bigint NOT NULL REFERENCES jobs ON DELETE CASCADE,
    item                     text COLLATE "C" NOT NULL,   -- a SOP Instance UID
    error                    text,                        -- NULL when it is done
    PRIMARY KEY (job, item)
);
CREATE INDEX job_failures ON job_items (job, item) WHERE error IS NOT NULL;

CREATE FUNCTION tell_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('dicomweb_jobs', NEW.id::text);
    RETURN NULL;
END $$;
CREATE TRIGGER jobs_changed AFTER INSERT OR UPDATE OF state ON jobs
    FOR EACH ROW WHEN (NEW.state IN ('queued', 'cancelled')) EXECUTE FUNCTION tell_jobs();

-- How far each reader of the change feed has come. What was stored before there were readers is no news.
CREATE TABLE feed_positions (
    reader                   text PRIMARY KEY,
    sequence                 bigint NOT NULL
);
INSERT INTO feed_positions SELECT 'availability', coalesce(max(sequence), 0) FROM changes;

-- Studies that changed lately and are watched until they are complete (dicomweb/jobs/completion.py).
CREATE TABLE growing_studies (
    study_instance_uid       text COLLATE "C" PRIMARY KEY,
    changed_at               timestamptz NOT NULL
);
CREATE INDEX growing_studies_oldest ON growing_studies (changed_at);
