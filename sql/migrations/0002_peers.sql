-- The application entities we know: who may call us, whom we send to, how each of them likes it (storage/peers.py).
CREATE TABLE peers (
    ae_title                 text COLLATE "C" PRIMARY KEY,
    host                     text NOT NULL,
    port                     integer NOT NULL,
    tls                      boolean NOT NULL DEFAULT false,
    commitment_delivery      text[] NOT NULL DEFAULT '{same,new,next}',
    transfer_syntaxes        text[] NOT NULL DEFAULT '{}',  -- preferred when we send to it
    character_set            text NOT NULL DEFAULT '',      -- of worklist answers to it
    username                 text NOT NULL DEFAULT '',      -- that it must give
    passcode                 text,                          -- scrypt digest of the one it must give
    availability             boolean NOT NULL DEFAULT false,
    forward_performed_steps  boolean NOT NULL DEFAULT false,
    description              text NOT NULL DEFAULT ''
);
