-- Whoever appends to the change feed waits until whoever appended before has committed: numbers become visible in their
-- order, and a reader that goes on after the last number it saw misses nothing. (Reading below the oldest transaction
-- that still ran was not enough: that one may have drawn a smaller number than one already read.) The lock is held
-- until the commit, so appending is the last thing a storing transaction does.
CREATE FUNCTION append_in_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(4919119874371);  -- "changes", of nobody else
    RETURN NULL;
END $$;
CREATE TRIGGER changes_in_order BEFORE INSERT ON changes FOR EACH STATEMENT EXECUTE FUNCTION append_in_order();

ALTER TABLE changes DROP COLUMN transaction;

-- Versions used to be numbers of changes; they are needed before the change is appended.
CREATE SEQUENCE versions;
SELECT setval('versions', greatest((SELECT max(version) FROM studies), (SELECT max(sequence) FROM changes), 1));
