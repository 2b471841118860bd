-- Format 3: of several servers on one database one works. It holds the lease by the database's clock, and each that takes it
-- gets a higher token, which every write is checked against.
SET LOCAL search_path TO davy;

ALTER TABLE journal ADD COLUMN token BIGINT NOT NULL DEFAULT 0 CHECK (token >= 0);

-- One row: the token of the last lease, until when it holds, how its holder is reached, whose folder the services are in,
-- and whether all servers were told to stop.
CREATE TABLE lease (
    one     BOOLEAN     PRIMARY KEY DEFAULT true CHECK (one),
    token   BIGINT      NOT NULL DEFAULT 0,
    until   TIMESTAMPTZ NOT NULL DEFAULT '-infinity',
    reach   TEXT        NOT NULL DEFAULT '',
    folder  TEXT        NOT NULL DEFAULT '',
    stopped BOOLEAN     NOT NULL DEFAULT false
);
INSERT INTO lease DEFAULT VALUES;
