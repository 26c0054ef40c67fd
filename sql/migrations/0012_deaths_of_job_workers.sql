-- Whose work ends the process that does it. A job that is still running under a supervisor (run) which has begun another
-- worker was at work when that ended; one of another run was interrupted by a machine or server that stopped.
ALTER TABLE jobs
    ADD COLUMN run    text NOT NULL DEFAULT '',
    ADD COLUMN worker uuid,
    ADD COLUMN deaths integer NOT NULL DEFAULT 0; -- of workers, since an item was last done
