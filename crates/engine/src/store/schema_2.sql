-- Format 2: what was done to the server itself, the values of secrets, and signed checkpoints.

-- A hash chain of its own, from number 1 without gaps.
CREATE TABLE deed (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    by     TEXT    NOT NULL,
    deed   TEXT    NOT NULL,
    hash   BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE TRIGGER deed_is_never_changed BEFORE UPDATE ON deed
BEGIN SELECT RAISE(ABORT, 'the journal is only ever appended to'); END;
CREATE TRIGGER deed_is_never_removed BEFORE DELETE ON deed
BEGIN SELECT RAISE(ABORT, 'the journal is only ever appended to'); END;

-- Values of secrets, encrypted; rows go when no release needs them. An empty name of a scope stands for all.
CREATE TABLE sealed (
    id          INTEGER PRIMARY KEY,
    environment TEXT    NOT NULL,
    service     TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    version     INTEGER NOT NULL CHECK (version > 0),
    key         BLOB    NOT NULL, -- which key: the beginning of its digest
    box         BLOB    NOT NULL, -- nonce and ciphertext
    UNIQUE (environment, service, name, version)
) STRICT;

CREATE TABLE checkpoint (
    number    INTEGER PRIMARY KEY,
    statement TEXT NOT NULL,
    signature BLOB NOT NULL
) STRICT;

CREATE TRIGGER checkpoint_is_never_changed BEFORE UPDATE ON checkpoint
BEGIN SELECT RAISE(ABORT, 'the journal is only ever appended to'); END;
CREATE TRIGGER checkpoint_is_never_removed BEFORE DELETE ON checkpoint
BEGIN SELECT RAISE(ABORT, 'the journal is only ever appended to'); END;
