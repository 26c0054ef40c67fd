-- The modality worklist (PS3.4 Annex K) and the performed procedure steps modalities report (PS3.4 Annex F).
-- Columns serve matching and sorting only; what is answered comes from the JSON in `attributes`. Texts and names are
-- kept as those of `studies` are.

-- A requested procedure of a patient: everything of a worklist item but its scheduled procedure steps.
CREATE TABLE worklist_items (
    id                           uuid PRIMARY KEY,
    study_instance_uid           text COLLATE "C" NOT NULL,
    accession_number             text COLLATE "C",
    requested_procedure_id       text COLLATE "C" NOT NULL,
    requested_procedure_priority text COLLATE "C",
    admission_id                 text COLLATE "C",
    patient_id                   text COLLATE "C" NOT NULL,
    patient_sex                  text COLLATE "C",
    patient_name                 text[] COLLATE "C" NOT NULL,  -- the component groups, folded
    referring_physician_name     text[] COLLATE "C" NOT NULL DEFAULT '{}',
    requesting_physician         text[] COLLATE "C" NOT NULL DEFAULT '{}',
    attributes                   jsonb NOT NULL,
    version                      bigint NOT NULL DEFAULT 1,    -- grows with every change of the item or of a step
    created_at                   timestamptz NOT NULL DEFAULT now(),
    updated_at                   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX worklist_items_study ON worklist_items (study_instance_uid);
CREATE INDEX worklist_items_accession_number ON worklist_items (accession_number);
CREATE INDEX worklist_items_requested_procedure ON worklist_items (requested_procedure_id);
CREATE INDEX worklist_items_patient_id ON worklist_items (patient_id);

-- One item of the Scheduled Procedure Step Sequence (0040,0100): what a worklist query answers one of (G-143).
CREATE TABLE worklist_steps (
    item                         uuid NOT NULL REFERENCES worklist_items ON DELETE CASCADE,
    number                       integer NOT NULL,             -- place in the sequence, from 1
    scheduled_procedure_step_id  text COLLATE "C" NOT NULL,
    station_ae_titles            text[] COLLATE "C" NOT NULL,
    start_at                     text COLLATE "C" NOT NULL,    -- YYYYMMDDHHMMSSffffff: date and time are one (G-142)
    modality                     text COLLATE "C" NOT NULL,
    performing_physician_name    text[] COLLATE "C" NOT NULL DEFAULT '{}',
    status                       text COLLATE "C" NOT NULL,
    attributes                   jsonb NOT NULL,
    PRIMARY KEY (item, number)
);
CREATE INDEX worklist_steps_start ON worklist_steps (start_at);
-- What modalities ask for is not finished; what is finished only ever becomes more.
CREATE INDEX worklist_steps_unfinished ON worklist_steps (start_at) WHERE status NOT IN ('COMPLETED', 'DISCONTINUED');
CREATE INDEX worklist_steps_stations ON worklist_steps USING gin (station_ae_titles);
CREATE INDEX worklist_steps_id ON worklist_steps (scheduled_procedure_step_id);

CREATE TABLE performed_steps (
    sop_instance_uid             text COLLATE "C" PRIMARY KEY,
    status                       text COLLATE "C" NOT NULL,    -- IN PROGRESS, COMPLETED, DISCONTINUED
    wrong_entry                  boolean NOT NULL DEFAULT false,  -- discontinued, since it was begun for another step
    calling_ae_title             text COLLATE "C" NOT NULL,
    start_at                     text COLLATE "C" NOT NULL,    -- YYYYMMDDHHMMSSffffff, '' when unknown
    patient_id                   text COLLATE "C",
    modality                     text COLLATE "C",
    attributes                   jsonb NOT NULL,
    warnings                     text[] NOT NULL DEFAULT '{}', -- where the modality departed from the Standard
    version                      bigint NOT NULL DEFAULT 1,
    created_at                   timestamptz NOT NULL DEFAULT now(),
    updated_at                   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX performed_steps_newest ON performed_steps (start_at DESC, sop_instance_uid);
CREATE INDEX performed_steps_patient_id ON performed_steps (patient_id);

-- One item of its Scheduled Step Attributes Sequence (0040,0270): what was performed of what was scheduled.
CREATE TABLE performed_requests (
    performed_step               text COLLATE "C" NOT NULL REFERENCES performed_steps ON DELETE CASCADE,
    number                       integer NOT NULL,
    study_instance_uid           text COLLATE "C" NOT NULL DEFAULT '',
    accession_number             text COLLATE "C" NOT NULL DEFAULT '',
    scheduled_procedure_step_id  text COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (performed_step, number)
);
CREATE INDEX performed_requests_study ON performed_requests (study_instance_uid);
CREATE INDEX performed_requests_accession_number ON performed_requests (accession_number) WHERE accession_number <> '';

-- What the modality said, in order: the history of a step, and what is passed on to others (G-173).
CREATE TABLE performed_step_messages (
    performed_step               text COLLATE "C" NOT NULL REFERENCES performed_steps ON DELETE CASCADE,
    number                       integer NOT NULL,
    operation                    text NOT NULL,                -- N-CREATE, N-SET
    attributes                   jsonb NOT NULL,
    received_at                  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (performed_step, number)
);

-- How many of the messages a peer has had.
CREATE TABLE performed_step_deliveries (
    performed_step               text COLLATE "C" NOT NULL REFERENCES performed_steps ON DELETE CASCADE,
    peer                         text COLLATE "C" NOT NULL,
    delivered                    integer NOT NULL DEFAULT 0,
    PRIMARY KEY (performed_step, peer)
);

-- Which performed step belongs to which scheduled one: by its ID within the study, or within the order when the modality
-- made up a study of its own; without an ID when the study has one step only.
CREATE VIEW performed_worklist_steps AS
SELECT s.item, s.number, p.sop_instance_uid, p.status, p.wrong_entry
FROM performed_requests r
JOIN performed_steps p ON p.sop_instance_uid = r.performed_step
JOIN worklist_items w ON w.study_instance_uid = r.study_instance_uid
    OR (w.accession_number = r.accession_number AND r.accession_number <> '')
JOIN worklist_steps s ON s.item = w.id
WHERE s.scheduled_procedure_step_id = r.scheduled_procedure_step_id
    OR (r.scheduled_procedure_step_id = '' AND w.study_instance_uid = r.study_instance_uid
        AND NOT EXISTS (SELECT FROM worklist_items w2 JOIN worklist_steps s2 ON s2.item = w2.id
                        WHERE w2.study_instance_uid = w.study_instance_uid AND (s2.item, s2.number) <> (s.item, s.number)));

-- The state of a scheduled step after all that was performed of it: begun anew it is not finished any more (G-171).
CREATE VIEW worklist_progress AS
SELECT item, number,
    CASE WHEN bool_or(status = 'IN PROGRESS') THEN 'STARTED'
         WHEN bool_or(status = 'COMPLETED') THEN 'COMPLETED'
         WHEN bool_or(status = 'DISCONTINUED' AND NOT wrong_entry) THEN 'DISCONTINUED'
         ELSE 'SCHEDULED' END AS status
FROM performed_worklist_steps GROUP BY item, number;
