-- The journal in PostgreSQL, format 1: the tables of SQLite's format 3, in a schema of their own.
CREATE SCHEMA davy;
SET LOCAL search_path TO davy;

-- One row. Whoever writes locks it first: writers take turns, and numbers have no gaps. It says how many events and
-- deeds there should be, so that a missing end is seen.
CREATE TABLE journal (
    one      BOOLEAN PRIMARY KEY DEFAULT true CHECK (one),
    format   BIGINT  NOT NULL,
    sequence BIGINT  NOT NULL DEFAULT 0 CHECK (sequence >= 0),
    deeds    BIGINT  NOT NULL DEFAULT 0 CHECK (deeds >= 0)
);
INSERT INTO journal (format) VALUES (1);

CREATE TABLE stream (
    id          BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    environment TEXT   NOT NULL,
    service     TEXT   NOT NULL,
    events      BIGINT NOT NULL CHECK (events >= 0),
    head        BYTEA  NOT NULL CHECK (length(head) = 32),
    UNIQUE (environment, service)
);

CREATE TABLE event (
    sequence BIGINT PRIMARY KEY,
    stream   BIGINT NOT NULL REFERENCES stream (id),
    position BIGINT NOT NULL CHECK (position > 0),
    at       BIGINT NOT NULL,
    by       TEXT   NOT NULL,
    rollout  TEXT,
    event    TEXT   NOT NULL,
    hash     BYTEA  NOT NULL CHECK (length(hash) = 32),
    UNIQUE (stream, position)
);
CREATE INDEX event_of_rollout ON event (rollout) WHERE rollout IS NOT NULL;

CREATE TABLE observed (
    id      BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    rollout TEXT   NOT NULL UNIQUE
);

CREATE TABLE evidence (
    id      BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    rollout BIGINT NOT NULL REFERENCES observed (id),
    number  BIGINT NOT NULL CHECK (number > 0),
    batch   TEXT   NOT NULL,
    digest  BYTEA  NOT NULL CHECK (length(digest) = 32),
    UNIQUE (rollout, number)
);

CREATE TABLE deed (
    number BIGINT PRIMARY KEY,
    at     BIGINT NOT NULL,
    by     TEXT   NOT NULL,
    deed   TEXT   NOT NULL,
    hash   BYTEA  NOT NULL CHECK (length(hash) = 32)
);

-- Values of secrets, encrypted; rows go when no release needs them. An empty name of a scope stands for all.
CREATE TABLE sealed (
    id          BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    environment TEXT   NOT NULL,
    service     TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    version     BIGINT NOT NULL CHECK (version > 0),
    key         BYTEA  NOT NULL, -- which key: the beginning of its digest
    box         BYTEA  NOT NULL, -- nonce and ciphertext
    UNIQUE (environment, service, name, version)
);

CREATE TABLE checkpoint (
    number    BIGINT PRIMARY KEY,
    statement TEXT   NOT NULL,
    signature BYTEA  NOT NULL
);

CREATE FUNCTION only_ever_appended() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE 'the journal is only ever appended to' USING ERRCODE = 'integrity_constraint_violation'; END $$;

CREATE TRIGGER never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON event
FOR EACH STATEMENT EXECUTE FUNCTION only_ever_appended();
CREATE TRIGGER never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON deed
FOR EACH STATEMENT EXECUTE FUNCTION only_ever_appended();
CREATE TRIGGER never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON checkpoint
FOR EACH STATEMENT EXECUTE FUNCTION only_ever_appended();
CREATE TRIGGER never_changed BEFORE UPDATE ON evidence
FOR EACH STATEMENT EXECUTE FUNCTION only_ever_appended();
