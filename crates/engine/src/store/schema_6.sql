-- Format 6: the events of a rollout that ended long ago may be packed: what they say is kept in one row, compressed, and theirs
-- go. No event is lost, so nothing has to be signed: the chains are computed again over what is packed, too.

-- One for each packed rollout, by the sequence number of its first event.
CREATE TABLE pack (
    first   INTEGER PRIMARY KEY,
    last    INTEGER NOT NULL,        -- sequence number
    stream  INTEGER NOT NULL REFERENCES stream (id),
    until   INTEGER NOT NULL,        -- position of the last
    rollout TEXT    NOT NULL UNIQUE,
    bytes   BLOB    NOT NULL
) STRICT;
CREATE INDEX pack_by_end ON pack (last);
CREATE INDEX pack_of_stream ON pack (stream, until);

-- Packed events that follow one another in their stream: who reads what comes after them needs the hash of the last, not the pack.
CREATE TABLE run (
    stream   INTEGER NOT NULL REFERENCES stream (id),
    until    INTEGER NOT NULL,       -- position of the last
    since    INTEGER NOT NULL,       -- position of the first
    sequence INTEGER NOT NULL,       -- of the last
    hash     BLOB    NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (stream, until)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER pack_is_never_changed BEFORE UPDATE ON pack
BEGIN SELECT RAISE(ABORT, 'what is packed is never changed'); END;
CREATE TRIGGER pack_is_never_removed BEFORE DELETE ON pack
BEGIN SELECT RAISE(ABORT, 'what is packed is never removed'); END;
CREATE TRIGGER run_is_never_changed BEFORE UPDATE ON run
BEGIN SELECT RAISE(ABORT, 'what is packed is never changed'); END;
CREATE TRIGGER run_is_never_removed BEFORE DELETE ON run
BEGIN SELECT RAISE(ABORT, 'what is packed is never removed'); END;

DROP TRIGGER event_is_never_removed;
CREATE TRIGGER event_is_never_removed BEFORE DELETE ON event
WHEN NOT EXISTS (SELECT 1 FROM run WHERE stream = OLD.stream AND until >= OLD.position AND since <= OLD.position)
BEGIN SELECT RAISE(ABORT, 'the journal is only ever appended to'); END;
