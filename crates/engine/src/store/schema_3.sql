-- Format 3: the events of one rollout are found without reading its whole stream.
CREATE INDEX event_of_rollout ON event (rollout) WHERE rollout IS NOT NULL;
