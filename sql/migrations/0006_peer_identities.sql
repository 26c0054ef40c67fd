-- The user identity we present to a peer when we call it (PS3.7 D.3.3.7). It goes out as it is, so a digest would not do:
-- who can read the database can read it.
ALTER TABLE peers
    ADD COLUMN our_username text NOT NULL DEFAULT '',
    ADD COLUMN our_passcode text;
