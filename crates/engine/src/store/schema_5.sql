-- Format 5: evidence may be let go when its time is over, by a deed that says so and no other way.
ALTER TABLE observed ADD COLUMN deed INTEGER REFERENCES deed (number);

CREATE TRIGGER evidence_is_let_go_by_a_deed BEFORE DELETE ON evidence
WHEN (SELECT deed FROM observed WHERE id = OLD.rollout) IS NULL
BEGIN SELECT RAISE(ABORT, 'evidence is let go by a deed'); END;
