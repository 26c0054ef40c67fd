-- What storage.work.peers does.

-- name: peer
SELECT ae_title, host, port, tls, commitment_delivery, transfer_syntaxes, character_set, username,
    passcode IS NOT NULL AS has_passcode, availability, forward_performed_steps, description,
    our_username, our_passcode_sealed AS our_passcode
FROM peers WHERE ae_title = $1;

-- name: peers
SELECT ae_title, host, port, tls, commitment_delivery, transfer_syntaxes, character_set, username,
    passcode IS NOT NULL AS has_passcode, availability, forward_performed_steps, description,
    our_username, our_passcode_sealed AS our_passcode
FROM peers ORDER BY ae_title;

-- name: put_peer
-- Passcodes: NULL keeps the one of the same username, '' takes it away.
INSERT INTO peers (ae_title, host, port, tls, commitment_delivery, transfer_syntaxes, character_set, username,
    availability, forward_performed_steps, description, passcode, our_username, our_passcode_sealed)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, nullif($12::text, ''), $13, nullif($14::text, ''))
ON CONFLICT (ae_title) DO UPDATE SET host = excluded.host, port = excluded.port, tls = excluded.tls,
    commitment_delivery = excluded.commitment_delivery, transfer_syntaxes = excluded.transfer_syntaxes,
    character_set = excluded.character_set, username = excluded.username, availability = excluded.availability,
    forward_performed_steps = excluded.forward_performed_steps, description = excluded.description,
    passcode = CASE WHEN $12::text IS NULL AND peers.username = excluded.username THEN peers.passcode
                    ELSE excluded.passcode END,
    our_username = excluded.our_username,
    our_passcode_sealed = CASE WHEN $14::text IS NULL AND peers.our_username = excluded.our_username
                               THEN peers.our_passcode_sealed ELSE excluded.our_passcode_sealed END
RETURNING xmax = 0 AS created;

-- name: peer_identity
SELECT username, passcode FROM peers WHERE ae_title = $1;

-- name: plain_passcodes
SELECT ae_title, our_passcode FROM peers WHERE our_passcode IS NOT NULL;

-- name: seal_plain_passcode
UPDATE peers SET our_passcode_sealed = $3, our_passcode = NULL WHERE ae_title = $1 AND our_passcode = $2;

-- name: sealed_passcodes
SELECT ae_title, our_passcode_sealed FROM peers WHERE our_passcode_sealed IS NOT NULL;

-- name: seal_again
UPDATE peers SET our_passcode_sealed = $3 WHERE ae_title = $1 AND our_passcode_sealed = $2;
