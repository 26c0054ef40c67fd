-- The passcode we present to a peer, sealed with a key that lies outside the database (storage/passcode_key.py). What
-- our_passcode still holds in the clear is sealed and taken out of it at the next start (storage/peers.py).
ALTER TABLE peers ADD COLUMN our_passcode_sealed text;
