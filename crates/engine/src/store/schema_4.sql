-- Format 4: up to which event people were told what happened. Empty names stand for everybody.
CREATE TABLE told (
    environment TEXT    NOT NULL,
    service     TEXT    NOT NULL,
    channel     TEXT    NOT NULL,
    sequence    INTEGER NOT NULL,
    PRIMARY KEY (environment, service, channel)
) STRICT, WITHOUT ROWID;
