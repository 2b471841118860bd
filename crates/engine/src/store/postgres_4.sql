-- Format 4: evidence may be let go when its time is over, by a deed that says so and no other way.
ALTER TABLE davy.observed ADD COLUMN deed BIGINT REFERENCES davy.deed (number);

CREATE FUNCTION davy.let_go_by_a_deed() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN
    IF (SELECT deed FROM davy.observed WHERE id = OLD.rollout) IS NULL THEN
        RAISE 'evidence is let go by a deed' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN OLD;
END $$;

CREATE TRIGGER let_go_by_a_deed BEFORE DELETE ON davy.evidence
FOR EACH ROW EXECUTE FUNCTION davy.let_go_by_a_deed();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON davy.evidence
FOR EACH STATEMENT EXECUTE FUNCTION davy.only_ever_appended();
