-- Format 2: up to which event people were told what happened. Empty names stand for everybody.
CREATE TABLE davy.told (
    environment text   NOT NULL,
    service     text   NOT NULL,
    channel     text   NOT NULL,
    sequence    bigint NOT NULL,
    PRIMARY KEY (environment, service, channel)
);
