-- The journal: streams, their events, and evidence. Format 1.
PRAGMA application_id = 0x44617679; -- "Davy"

-- One for each service in an environment. `events` and `head` say where its chain stands, so that a missing end is seen.
CREATE TABLE stream (
    id          INTEGER PRIMARY KEY,
    environment TEXT    NOT NULL,
    service     TEXT    NOT NULL,
    events      INTEGER NOT NULL CHECK (events >= 0),
    head        BLOB    NOT NULL CHECK (length(head) = 32),
    UNIQUE (environment, service)
) STRICT;

-- AUTOINCREMENT: a sequence number is never given twice, because clients resume from it.
CREATE TABLE event (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    stream   INTEGER NOT NULL REFERENCES stream (id),
    position INTEGER NOT NULL CHECK (position > 0),
    at       INTEGER NOT NULL,
    by       TEXT    NOT NULL,
    rollout  TEXT,
    event    TEXT    NOT NULL,
    hash     BLOB    NOT NULL CHECK (length(hash) = 32),
    UNIQUE (stream, position)
) STRICT;

CREATE TRIGGER event_is_never_changed BEFORE UPDATE ON event
BEGIN SELECT RAISE(ABORT, 'the journal is only ever appended to'); END;
CREATE TRIGGER event_is_never_removed BEFORE DELETE ON event
BEGIN SELECT RAISE(ABORT, 'the journal is only ever appended to'); END;

-- A short number for each rollout with evidence: its name would make a tenth of every row.
CREATE TABLE observed (
    id      INTEGER PRIMARY KEY,
    rollout TEXT    NOT NULL UNIQUE
) STRICT;

CREATE TABLE evidence (
    id      INTEGER PRIMARY KEY,
    rollout INTEGER NOT NULL REFERENCES observed (id),
    number  INTEGER NOT NULL CHECK (number > 0),
    batch   TEXT    NOT NULL,
    digest  BLOB    NOT NULL CHECK (length(digest) = 32),
    UNIQUE (rollout, number)
) STRICT;

CREATE TRIGGER evidence_is_never_changed BEFORE UPDATE ON evidence
BEGIN SELECT RAISE(ABORT, 'evidence is never changed'); END;
