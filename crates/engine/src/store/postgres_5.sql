-- Format 5: the events of a rollout that ended long ago may be packed: what they say is kept in one row, compressed, and theirs
-- go. No event is lost, so nothing has to be signed: the chains are computed again over what is packed, too.
SET LOCAL search_path TO davy;

-- One for each packed rollout, by the sequence number of its first event.
CREATE TABLE pack (
    first   BIGINT PRIMARY KEY,
    last    BIGINT NOT NULL,        -- sequence number
    stream  BIGINT NOT NULL REFERENCES stream (id),
    until   BIGINT NOT NULL,        -- position of the last
    rollout TEXT   NOT NULL UNIQUE,
    bytes   BYTEA  NOT NULL
);
-- It is compressed already.
ALTER TABLE pack ALTER COLUMN bytes SET STORAGE EXTERNAL;
CREATE INDEX pack_by_end ON pack (last);
CREATE INDEX pack_of_stream ON pack (stream, until);

-- Packed events that follow one another in their stream: who reads what comes after them needs the hash of the last, not the pack.
CREATE TABLE run (
    stream   BIGINT NOT NULL REFERENCES stream (id),
    until    BIGINT NOT NULL,       -- position of the last
    since    BIGINT NOT NULL,       -- position of the first
    sequence BIGINT NOT NULL,       -- of the last
    hash     BYTEA  NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (stream, until)
);

CREATE TRIGGER never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON pack
FOR EACH STATEMENT EXECUTE FUNCTION only_ever_appended();
CREATE TRIGGER never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON run
FOR EACH STATEMENT EXECUTE FUNCTION only_ever_appended();

CREATE FUNCTION only_packed() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM davy.run WHERE stream = OLD.stream AND until >= OLD.position AND since <= OLD.position
    ) THEN
        RAISE 'the journal is only ever appended to' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN OLD;
END $$;

DROP TRIGGER never_changed ON event;
CREATE TRIGGER never_changed BEFORE UPDATE OR TRUNCATE ON event
FOR EACH STATEMENT EXECUTE FUNCTION only_ever_appended();
CREATE TRIGGER only_packed BEFORE DELETE ON event
FOR EACH ROW EXECUTE FUNCTION only_packed();
