-- Storage commitments asked of us, and those we ask of others (PS3.4 J). Not part of the index: `dicomweb reindex`
-- leaves them alone, and no key leads from here into it, since what is asked about may not be stored.

CREATE TABLE commitments (
    id                       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token                    uuid NOT NULL UNIQUE,        -- of one N-ACTION, so that storing it twice does no harm
    transaction_uid          text COLLATE "C" NOT NULL,
    requester                text COLLATE "C" NOT NULL,   -- AE title that asked
    called_ae_title          text COLLATE "C" NOT NULL,   -- AE title it called us by
    association              text NOT NULL,               -- it came on, as the process that holds it calls it
    duplicate                boolean NOT NULL DEFAULT false,  -- the transaction UID was in use already
    state                    text NOT NULL CHECK (state IN ('checking', 'asking', 'reporting', 'reported', 'parked')),
    due_at                   timestamptz NOT NULL DEFAULT now(),  -- when the next step of the state is to be taken
    claimed_by               uuid,                        -- the process that takes it
    claimed_until            timestamptz,                 -- after this anybody may
    attempts                 integer NOT NULL DEFAULT 0,  -- of the state, without success
    problem                  text NOT NULL DEFAULT '',    -- why the last attempt failed
    delivered_by             text,                        -- 'same', 'new' or 'next'
    number_of_instances      integer NOT NULL,
    number_failed            integer,                     -- known once checked
    requested_at             timestamptz NOT NULL DEFAULT now(),
    checked_at               timestamptz,                 -- by us, the archive downstream not yet asked
    give_up_at               timestamptz,                 -- reporting is parked after this
    reported_at              timestamptz
);
-- One transaction of a requester; further ones with its UID are duplicates and told so.
CREATE UNIQUE INDEX commitments_transaction ON commitments (requester, transaction_uid) WHERE NOT duplicate;
CREATE INDEX commitments_due ON commitments (due_at) WHERE state IN ('checking', 'asking', 'reporting');
CREATE INDEX commitments_waiting ON commitments (requester) WHERE state = 'reporting';
CREATE INDEX commitments_reported ON commitments (reported_at) WHERE state = 'reported';

CREATE TABLE commitment_instances (
    commitment               bigint NOT NULL REFERENCES commitments ON DELETE CASCADE,
    number                   integer NOT NULL,            -- place in the request, from 1
    sop_class_uid            text COLLATE "C" NOT NULL,
    sop_instance_uid         text COLLATE "C" NOT NULL,
    failure_reason           integer,                     -- NULL: not checked yet; 0: sound; else PS3.3 C.14.1.1
    PRIMARY KEY (commitment, number)
);

-- What we asked others to commit to; the answer may come to another process than the one that waits for it.
CREATE TABLE commitments_asked (
    transaction_uid          text COLLATE "C" PRIMARY KEY,
    peer                     text COLLATE "C" NOT NULL,   -- AE title
    asked_at                 timestamptz NOT NULL DEFAULT now(),
    answered_at              timestamptz,
    committed                text[] COLLATE "C",          -- SOP Instance UIDs
    failed                   text[] COLLATE "C",          -- SOP Instance UIDs
    failure_reasons          integer[]                    -- of `failed`, in its order
);
CREATE INDEX commitments_asked_at ON commitments_asked (asked_at);
