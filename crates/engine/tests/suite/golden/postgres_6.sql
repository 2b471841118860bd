-- events: 87
-- batches: 35
-- deeds: 12
-- checkpoints: 2
-- let go: 1
-- packed: 15
-- marks: 2
-- head: davy1:2:feb15e4d67332b34085462759e515dcc91d486e15059e912aaee519992f3f335:cc81c7d32000ceaa31509946e6252dbe12681b2ccd1a8a9082ffb64d06b292ca:22c6bc39a7b1c5eb84cde069996142eb8821a81242546114a50bcd50d4c11bf7429163537105af641c608dcfab2836725060cfbcda0ec4ff47aab0b1aa104307
CREATE SCHEMA davy;
CREATE FUNCTION davy.let_go_by_a_deed() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN
    IF (SELECT deed FROM davy.observed WHERE id = OLD.rollout) IS NULL THEN
        RAISE 'evidence is let go by a deed' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN OLD;
END $$;
CREATE FUNCTION davy.only_ever_appended() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN RAISE 'the journal is only ever appended to' USING ERRCODE = 'integrity_constraint_violation'; END $$;
CREATE FUNCTION davy.only_packed() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM davy.run WHERE stream = OLD.stream AND until >= OLD.position AND since <= OLD.position
    ) THEN
        RAISE 'the journal is only ever appended to' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN OLD;
END $$;
CREATE TABLE davy.checkpoint (
    number bigint NOT NULL,
    statement text NOT NULL,
    signature bytea NOT NULL
);
CREATE TABLE davy.deed (
    number bigint NOT NULL,
    at bigint NOT NULL,
    by text NOT NULL,
    deed text NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT deed_hash_check CHECK ((length(hash) = 32))
);
CREATE TABLE davy.event (
    sequence bigint NOT NULL,
    stream bigint NOT NULL,
    "position" bigint NOT NULL,
    at bigint NOT NULL,
    by text NOT NULL,
    rollout text,
    event text NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT event_hash_check CHECK ((length(hash) = 32)),
    CONSTRAINT event_position_check CHECK (("position" > 0))
);
CREATE TABLE davy.evidence (
    id bigint NOT NULL,
    rollout bigint NOT NULL,
    number bigint NOT NULL,
    batch text NOT NULL,
    digest bytea NOT NULL,
    CONSTRAINT evidence_digest_check CHECK ((length(digest) = 32)),
    CONSTRAINT evidence_number_check CHECK ((number > 0))
);
ALTER TABLE davy.evidence ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME davy.evidence_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE davy.journal (
    one boolean DEFAULT true NOT NULL,
    format bigint NOT NULL,
    sequence bigint DEFAULT 0 NOT NULL,
    deeds bigint DEFAULT 0 NOT NULL,
    token bigint DEFAULT 0 NOT NULL,
    CONSTRAINT journal_deeds_check CHECK ((deeds >= 0)),
    CONSTRAINT journal_one_check CHECK (one),
    CONSTRAINT journal_sequence_check CHECK ((sequence >= 0)),
    CONSTRAINT journal_token_check CHECK ((token >= 0))
);
CREATE TABLE davy.lease (
    one boolean DEFAULT true NOT NULL,
    token bigint DEFAULT 0 NOT NULL,
    until timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    reach text DEFAULT ''::text NOT NULL,
    folder text DEFAULT ''::text NOT NULL,
    stopped boolean DEFAULT false NOT NULL,
    CONSTRAINT lease_one_check CHECK (one)
);
CREATE TABLE davy.observed (
    id bigint NOT NULL,
    rollout text NOT NULL,
    deed bigint
);
ALTER TABLE davy.observed ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME davy.observed_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE davy.pack (
    first bigint NOT NULL,
    last bigint NOT NULL,
    stream bigint NOT NULL,
    until bigint NOT NULL,
    rollout text NOT NULL,
    bytes bytea NOT NULL
);
ALTER TABLE ONLY davy.pack ALTER COLUMN bytes SET STORAGE EXTERNAL;
CREATE TABLE davy.run (
    stream bigint NOT NULL,
    until bigint NOT NULL,
    since bigint NOT NULL,
    sequence bigint NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT run_hash_check CHECK ((length(hash) = 32))
);
CREATE TABLE davy.sealed (
    id bigint NOT NULL,
    environment text NOT NULL,
    service text NOT NULL,
    name text NOT NULL,
    version bigint NOT NULL,
    key bytea NOT NULL,
    box bytea NOT NULL,
    CONSTRAINT sealed_version_check CHECK ((version > 0))
);
ALTER TABLE davy.sealed ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME davy.sealed_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE davy.stream (
    id bigint NOT NULL,
    environment text NOT NULL,
    service text NOT NULL,
    events bigint NOT NULL,
    head bytea NOT NULL,
    CONSTRAINT stream_events_check CHECK ((events >= 0)),
    CONSTRAINT stream_head_check CHECK ((length(head) = 32))
);
ALTER TABLE davy.stream ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME davy.stream_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE davy.told (
    environment text NOT NULL,
    service text NOT NULL,
    channel text NOT NULL,
    sequence bigint NOT NULL
);
INSERT INTO davy.checkpoint VALUES (1, '{"number":1,"at":1795248100000,"before":"","key":"cc81c7d32000ceaa31509946e6252dbe12681b2ccd1a8a9082ffb64d06b292ca","streams":[["production","logo",83,"c69082afb8e9fa954b1d897a48bc40d837c62729993a591148a8343659f3c53e"]],"deeds":[1,"7432140b3f24857de570bb26a18ecab3e2c60d81fe4cec86bcb0a894f68abc23"]}', '\x3700d9d458f67cdbc7d5d79c1bd11ed1c2b64a4e4aa8f6566b5bd3def1b7f7afd6037e924f0bcece78f14655d2766fd931f8dc93c4e38985ce0f91d4d4de4c01');
INSERT INTO davy.checkpoint VALUES (2, '{"number":2,"at":1795248100000,"before":"1f882e70307e6541972aadcc1f34a8c3451b49804d1ab47ff4a16bd2cd976252","key":"cc81c7d32000ceaa31509946e6252dbe12681b2ccd1a8a9082ffb64d06b292ca","streams":[["production","logo",87,"0bdb4873eb45ce3beb1b9e9d8f3a6e110b3a7a2ef1e4080acd6c563da237e9f3"]],"deeds":[12,"952088394b8b07613b370cf7f28bab4c68130cbf1066f5930580a7818698c05a"]}', '\x22c6bc39a7b1c5eb84cde069996142eb8821a81242546114a50bcd50d4c11bf7429163537105af641c608dcfab2836725060cfbcda0ec4ff47aab0b1aa104307');
INSERT INTO davy.deed VALUES (1, 1795248100000, 'lena', '{"type":"secret-set","name":"API_KEY","scope":{"service":null,"environment":null},"version":1}', '\x7432140b3f24857de570bb26a18ecab3e2c60d81fe4cec86bcb0a894f68abc23');
INSERT INTO davy.deed VALUES (2, 1795248100000, 'lena', '{"type":"token-created","name":"ci","role":"deployer","environments":[],"expires":null,"hash":"abababababababababababababababababababababababababababababababab"}', '\xeecb53f8c7a8258021e7436b48e965e9fbcddf005b11075739290a895dfd3456');
INSERT INTO davy.deed VALUES (3, 1795248100000, 'lena', '{"type":"token-revoked","name":"ci"}', '\x45ad558ded3bf993bdf70f793bda8d7a87040dc0844e730a384e12c7b277fcd1');
INSERT INTO davy.deed VALUES (4, 1795248100000, 'lena', '{"type":"secret-removed","name":"API_KEY","scope":{"service":null,"environment":null}}', '\x5d318308120c6edf361c8d2e1fba18eb8c163babfb3964b06cab5f7d487e3e5d');
INSERT INTO davy.deed VALUES (5, 1795248100000, 'lena', '{"type":"restored","made":1795248100000}', '\xaebbc97202814d358e4f3755462f291c6aa59bdf9ffd2b7dbd2a0e1be7346b23');
INSERT INTO davy.deed VALUES (6, 1795248100000, 'lena', '{"type":"signed-in","session":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","role":"approver","environments":["production"],"way":"code","behind":"abababababababababababababababababababababababababababababababab","expires":1795248160000,"ends":1795248160000}', '\x94e3bee649425311317d6c4495bca5ce91609da2403a993eee062106da3e62c5');
INSERT INTO davy.deed VALUES (7, 1795248100000, 'lena', '{"type":"signed-in","session":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","role":"approver","environments":["production"],"way":{"oidc":"company"},"expires":1795248160000,"ends":1795248160000}', '\xd6c5e889ca761a0216e74f702b2040d38ef07cb4c5db3121c4c08ccb65fb9ccb');
INSERT INTO davy.deed VALUES (8, 1795248100000, 'lena', '{"type":"signed-in","session":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","role":"approver","environments":["production"],"way":"token","expires":1795248160000,"ends":1795248160000}', '\x6da012c461a8d3bfc7c0cd2c0acacb2ea6bce1c1b3ac0a6de0cd503705891c84');
INSERT INTO davy.deed VALUES (9, 1795248100000, 'lena', '{"type":"signed-in","session":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","role":"approver","environments":["production"],"way":{"github":"github"},"expires":1795248160000,"ends":1795248160000}', '\xa2f21dd09b8ce64e1be65b8dfab0cae61f1311c47623b0e9251236db7be596ba');
INSERT INTO davy.deed VALUES (10, 1795248100000, 'lena', '{"type":"session-kept","session":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","expires":1795248160000}', '\x536ef5bc666f4886a44b7c7e80abbac6ba2ba84bef93574714f40cf115090ba7');
INSERT INTO davy.deed VALUES (11, 1795248100000, 'lena', '{"type":"signed-out","session":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"}', '\x0034e2727029739173c57ff5c8773a2aee641572f09dcf99db0688f2ebf4e618');
INSERT INTO davy.deed VALUES (12, 1795248100000, 'lena', '{"type":"evidence-let-go","rollout":"r-bad","batches":{"first":1,"last":6,"digest":"88e523e2b5088fa21f83f4875acf17ec5e2119b9722035fe12b9212d7f90bcb0"},"key":"cc81c7d32000ceaa31509946e6252dbe12681b2ccd1a8a9082ffb64d06b292ca","signature":"a3016fc2763c3064ada5dc787a44ece686b6f9c5555482291989a24243c0f952749a72fc63add879442dc3e20e335a151f040c22d76a2523a7bcf86836a3d303"}', '\x952088394b8b07613b370cf7f28bab4c68130cbf1066f5930580a7818698c05a');
INSERT INTO davy.event VALUES (1, 1, 1, 1795248000000, 'lena', 'r-first', '{"type":"rollout-requested","request":{"rollout":"r-first","release":{"id":"11b7aceffb6f","digest":"sha256:1077777777777777777777777777777777777777777777777777777777777777","workload":{"run":{"process":{"command":["./logo","--version","1.0","--port","$PORT"],"files":[]}},"env":{},"replicas":2,"health":{"path":"/healthz","grace":10000,"interval":1000},"route":{"host":null,"path":"/"}}},"policy":{"strategy":{"canary":{"steps":[{"weight":500,"scale":"all","matches":[],"mirror":null},{"weight":2500,"scale":"all","matches":[],"mirror":null},{"weight":10000,"scale":"all","matches":[],"mirror":null}],"sticky":false,"auto":false}},"hold":3000,"deadline":20000,"on_deadline":"pause","pause_limit":60000,"drain":2000,"bake":5000,"analysis":{"alpha":0.01,"beta":0.05,"max_error_rate":null,"not_worse_than_stable":true,"slo":null,"margin":null,"harm_budget":{"excess":50.0},"latency":null,"not_slower_than":null,"burst":1,"metrics":[],"source":null}},"by":"lena","kind":"deploy"}}', '\x8ce742d201e1cdfb35c04015037ca6ac6fdea722c26ac1a6ec7cb5400db93d46');
INSERT INTO davy.event VALUES (2, 1, 2, 1795248000000, 'lena', 'r-first', '{"type":"instances-requested","generation":1,"release":"11b7aceffb6f","count":2}', '\x5df32de2e5ca1f4645f7ddf4136f64a6b155b85caaca693860a57b4ed3245fc1');
INSERT INTO davy.event VALUES (3, 1, 3, 1795248000000, 'lena', 'r-first', '{"type":"instances-ordered","generation":1}', '\xf08394fd7cc5403ae333c8cb9b17e09ce05aaf2eace86636f610b1d03291445f');
INSERT INTO davy.event VALUES (4, 1, 4, 1795248001000, 'davy', 'r-first', '{"type":"instances-ready","release":"11b7aceffb6f","instances":[{"id":"11b7aceffb6f-0","release":"11b7aceffb6f","address":"127.0.0.1:4010","health":"healthy","restarts":0,"since":1795248000000},{"id":"11b7aceffb6f-1","release":"11b7aceffb6f","address":"127.0.0.1:4011","health":"healthy","restarts":0,"since":1795248000000}]}', '\x0e767258275102eca206959a5bcf7f7879dbc9672f7d385f24ef11a458c59890');
INSERT INTO davy.event VALUES (5, 1, 5, 1795248001000, 'davy', 'r-first', '{"type":"weight-requested","generation":2,"step":0,"split":{"only":{"release":"11b7aceffb6f"}}}', '\xf10f491af7ea540a7f959652a2071d651790f0f6bd6d8361854937cc999cd1b6');
INSERT INTO davy.event VALUES (6, 1, 6, 1795248001000, 'davy', 'r-first', '{"type":"weight-applied","generation":2}', '\x429c5a188ae41c22d7b81a7cf7fea19a5cbe8c6b35cec43c74164868568d446a');
INSERT INTO davy.event VALUES (7, 1, 7, 1795248002000, 'davy', 'r-first', '{"type":"promoted"}', '\x3086bac758c87eaf3f9ea5faecf34300a5938f131e629d9b93aa0d7faa1522b5');
INSERT INTO davy.event VALUES (8, 1, 8, 1795248002000, 'davy', 'r-first', '{"type":"rollout-finished","rollout":"r-first","outcome":"promoted","why":"the first deployment of the service: there was nothing to compare it with"}', '\x13bcc1d3b7a8184826c826c888dd0b8fb79c61f990ef109757c5edafede2e827');
INSERT INTO davy.event VALUES (9, 1, 9, 1795248020000, 'mira', 'r-bad', '{"type":"rollout-requested","request":{"rollout":"r-bad","release":{"id":"37405be33a9b","digest":"sha256:2077777777777777777777777777777777777777777777777777777777777777","workload":{"run":{"process":{"command":["./logo","--version","2.0","--port","$PORT"],"files":[]}},"env":{},"replicas":2,"health":{"path":"/healthz","grace":10000,"interval":1000},"route":{"host":null,"path":"/"}}},"policy":{"strategy":{"canary":{"steps":[{"weight":500,"scale":"all","matches":[],"mirror":null},{"weight":2500,"scale":"all","matches":[],"mirror":null},{"weight":10000,"scale":"all","matches":[],"mirror":null}],"sticky":false,"auto":false}},"hold":3000,"deadline":20000,"on_deadline":"pause","pause_limit":60000,"drain":2000,"bake":5000,"analysis":{"alpha":0.01,"beta":0.05,"max_error_rate":null,"not_worse_than_stable":true,"slo":null,"margin":null,"harm_budget":{"excess":50.0},"latency":null,"not_slower_than":null,"burst":1,"metrics":[],"source":null}},"by":"mira","kind":"deploy"}}', '\x5069adaba9ff80acfd2f13afb08b1138ff81dd42ae138ebea3560686f0fd765d');
INSERT INTO davy.event VALUES (20, 1, 20, 1795248023000, 'davy', 'r-bad', '{"type":"reverted","generation":4,"cause":null}', '\x13dd13e33438c5d7a87e5086dfdd9f303fd8a3d45738d26d6b9f658c8942d9b7');
INSERT INTO davy.event VALUES (26, 1, 26, 1795248026000, 'davy', 'r-bad', '{"type":"rollout-finished","rollout":"r-bad","outcome":"rolled-back","why":"Harmful: the canary failed 5 of 100 requests (5 %), stable 1 of 1,900 requests (0.0526 %); the evidence is 29,672 to 1, and 167 to 1 is the line that a canary within its limits crosses in at most 0.6 % of rollouts."}', '\x1f6543f0d89df92d6b735aa76882cbbc50fb45acde179a2db93e18bd9a2712b4');
INSERT INTO davy.event VALUES (27, 1, 27, 1795248040000, 'lena', 'r-good', '{"type":"rollout-requested","request":{"rollout":"r-good","release":{"id":"99e1f19cc364","digest":"sha256:2177777777777777777777777777777777777777777777777777777777777777","workload":{"run":{"process":{"command":["./logo","--version","2.1","--port","$PORT"],"files":[]}},"env":{},"replicas":2,"health":{"path":"/healthz","grace":10000,"interval":1000},"route":{"host":null,"path":"/"}}},"policy":{"strategy":{"canary":{"steps":[{"weight":500,"scale":"all","matches":[],"mirror":null},{"weight":2500,"scale":"all","matches":[],"mirror":null},{"weight":10000,"scale":"all","matches":[],"mirror":null}],"sticky":false,"auto":false}},"hold":3000,"deadline":20000,"on_deadline":"pause","pause_limit":60000,"drain":2000,"bake":5000,"analysis":{"alpha":0.01,"beta":0.05,"max_error_rate":null,"not_worse_than_stable":true,"slo":null,"margin":null,"harm_budget":{"excess":50.0},"latency":null,"not_slower_than":null,"burst":1,"metrics":[],"source":null}},"by":"lena","kind":"deploy"}}', '\x1be6bac45a009bfeacb7b923e76a450ea98f1543b010e23a68c53b4c48e10ffc');
INSERT INTO davy.event VALUES (28, 1, 28, 1795248040000, 'lena', 'r-good', '{"type":"instances-requested","generation":8,"release":"99e1f19cc364","count":2}', '\x1d98db3f6470c84c7522a44bbd4a1233dea24f879abd6ed05b0f74eeedf2f5b3');
INSERT INTO davy.event VALUES (29, 1, 29, 1795248040000, 'lena', 'r-good', '{"type":"instances-ordered","generation":8}', '\xd093e580445ff9da9f8b87fe3a3f8188bf4287c1d2c22bb29976fb3ef1f6462e');
INSERT INTO davy.event VALUES (30, 1, 30, 1795248041000, 'davy', 'r-good', '{"type":"verdict-reached","verdict":{"kind":"undecided","epoch":0,"weight":0,"evidence":{"rollout":{"canary":{"n":0,"x":0,"admitted":0,"repeated":0},"stable":{"n":0,"x":0,"admitted":0,"repeated":0}},"step":{"canary":{"n":0,"x":0,"admitted":0,"repeated":0},"stable":{"n":0,"x":0,"admitted":0,"repeated":0}},"open":{"canary":{"n":0,"x":0,"admitted":0,"repeated":0},"stable":{"n":0,"x":0,"admitted":0,"repeated":0}},"canary_rate":null,"stable_rate":null,"ln_e":0.0,"ln_needed":5.115995809754082,"amber":false,"metrics":[{"measure":"relative","share":0.6666666666666666,"ln_e":0.0,"ln_needed":5.521460917862247,"since_ms":0,"since":{"canary":{"n":0,"x":0,"admitted":0,"repeated":0},"stable":{"n":0,"x":0,"admitted":0,"repeated":0}}}],"causes":[],"suspect":null,"promotion":null,"canary_in_flight":0,"stable_in_flight":0,"hanging":false,"limit":null,"blocks":0,"duplicates":0,"late":0,"nonsense":0,"ramp":null,"bounds":{"difference":{"estimate":null,"low":-1.0,"high":1.0},"odds_ratio_low":0.0},"calibration":"unaudited","sample_ratio":{"given":0,"due":0.0,"routed":0,"ln_e":0.0,"wrong":false},"single_instance":null},"because":"Undecided: nothing has been counted yet."},"batches":{"first":1,"last":1,"digest":"228382c6f5293b18eebb78d7ad0ee33cded8cb8d5badcc740e5f7d5c4917d075"}}', '\xbbc78e72ba8e8aff0ef899965d687403a1e91bdc60ae15912e688d6e758b3c16');
INSERT INTO davy.event VALUES (31, 1, 31, 1795248041000, 'davy', 'r-good', '{"type":"instances-ready","release":"99e1f19cc364","instances":[{"id":"99e1f19cc364-0","release":"99e1f19cc364","address":"127.0.0.1:4030","health":"healthy","restarts":0,"since":1795248040000},{"id":"99e1f19cc364-1","release":"99e1f19cc364","address":"127.0.0.1:4031","health":"healthy","restarts":0,"since":1795248040000}]}', '\x555f211629af228c62ccb83d5f4fda4adc5af1ee36319d665d15b1a150cf75e6');
INSERT INTO davy.event VALUES (32, 1, 32, 1795248041000, 'davy', 'r-good', '{"type":"weight-requested","generation":9,"step":0,"split":{"trial":{"canary":500}}}', '\xf92840fcffabb66b713ac4d2beedc876808cef057031616ab8f75d4c32720d92');
INSERT INTO davy.event VALUES (33, 1, 33, 1795248041000, 'davy', 'r-good', '{"type":"weight-applied","generation":9}', '\x19468eff48bd1a677abeedbb4d96e7a4b159c5417c1aaa879d63ae19e50ee0ee');
INSERT INTO davy.event VALUES (34, 1, 34, 1795248042000, 'davy', 'r-good', '{"type":"verdict-reached","verdict":{"kind":"undecided","epoch":9,"weight":500,"evidence":{"rollout":{"canary":{"n":50,"x":0,"admitted":50,"repeated":0},"stable":{"n":950,"x":0,"admitted":950,"repeated":0}},"step":{"canary":{"n":50,"x":0,"admitted":50,"repeated":0},"stable":{"n":950,"x":0,"admitted":950,"repeated":0}},"open":{"canary":{"n":0,"x":0,"admitted":0,"repeated":0},"stable":{"n":0,"x":0,"admitted":0,"repeated":0}},"canary_rate":0.0,"stable_rate":0.0,"ln_e":-5.551115123125783e-17,"ln_needed":5.115995809754082,"amber":false,"metrics":[{"measure":"relative","share":0.6666666666666666,"ln_e":0.0,"ln_needed":5.521460917862247,"since_ms":1000,"since":{"canary":{"n":50,"x":0,"admitted":50,"repeated":0},"stable":{"n":950,"x":0,"admitted":950,"repeated":0}}}],"causes":[],"suspect":null,"promotion":{"weight":500,"margin":0.02,"ln_e":0.7605487479855135,"ln_needed":2.995732273553991,"proven":false,"forecast":{"requests":132,"seconds":2.64}},"canary_in_flight":0,"stable_in_flight":0,"hanging":false,"limit":null,"blocks":1,"duplicates":0,"late":0,"nonsense":0,"ramp":null,"bounds":{"difference":{"estimate":0.0,"low":-1.0,"high":0.1},"odds_ratio_low":0.0},"calibration":"unaudited","sample_ratio":{"given":50,"due":50.0,"routed":1000,"ln_e":-1.4272430238726157,"wrong":false},"single_instance":null},"because":"Undecided: the proof that the canary''s failure rate is less than 2 percentage points above stable''s needs about 132 more canary requests without a failure, 3 s at the present traffic; it failed 0 of 50 requests (0 %), stable 0 of 950 requests (0 %), in this step."},"batches":{"first":1,"last":2,"digest":"b365b0c433e057f236a6e08d6fa82176d81148d775c48a999ad5169865744fb8"}}', '\x93072b02fcce7f0a3d8706c38281c8a5e5a4f75bd71da1cec723875ecff8ebbb');
INSERT INTO davy.event VALUES (35, 1, 35, 1795248042000, 'davy', 'r-good', '{"type":"weight-observed","generation":9,"observed":500}', '\x5069ea5cee3bae4e080a90c6f8662dbe16351086d2be12e9e76bb3e6e710c956');
INSERT INTO davy.event VALUES (36, 1, 36, 1795248045000, 'davy', 'r-good', '{"type":"verdict-reached","verdict":{"kind":"safe","epoch":9,"weight":500,"evidence":{"rollout":{"canary":{"n":200,"x":0,"admitted":200,"repeated":0},"stable":{"n":3800,"x":3,"admitted":3800,"repeated":0}},"step":{"canary":{"n":200,"x":0,"admitted":200,"repeated":0},"stable":{"n":3800,"x":3,"admitted":3800,"repeated":0}},"open":{"canary":{"n":0,"x":0,"admitted":0,"repeated":0},"stable":{"n":0,"x":0,"admitted":0,"repeated":0}},"canary_rate":0.0,"stable_rate":0.0007894736842105263,"ln_e":-0.28620779253109707,"ln_needed":5.115995809754082,"amber":false,"metrics":[{"measure":"relative","share":0.6666666666666666,"ln_e":-0.46735148831264384,"ln_needed":5.521460917862247,"since_ms":1000,"since":{"canary":{"n":200,"x":0,"admitted":200,"repeated":0},"stable":{"n":3800,"x":3,"admitted":3800,"repeated":0}}}],"causes":[],"suspect":null,"promotion":{"weight":500,"margin":0.02,"ln_e":3.401340797724134,"ln_needed":2.995732273553991,"proven":true,"forecast":null},"canary_in_flight":0,"stable_in_flight":0,"hanging":false,"limit":null,"blocks":4,"duplicates":0,"late":0,"nonsense":0,"ramp":null,"bounds":{"difference":{"estimate":-0.0007894736842105263,"low":-0.005,"high":0.05},"odds_ratio_low":0.0},"calibration":"unaudited","sample_ratio":{"given":200,"due":200.0,"routed":4000,"ln_e":-2.2250613861147923,"wrong":false},"single_instance":null},"because":"Safe: in this step the canary failed 0 of 200 requests (0 %), stable 3 of 3,800 requests (0.0789 %), which proves its failure rate less than 2 percentage points above stable''s; of a canary that is worse than that this is said in at most 5 % of rollouts."},"batches":{"first":1,"last":5,"digest":"002216fa706003490bf8c52fefe6fa1b48f80d8c9ad7a4f1fd8496269cde6c9f"}}', '\x84e2f4e37d9702ede769e0ef8fe4e93a6c2cce8369cf61ebf8b95c0c990abd14');
INSERT INTO davy.event VALUES (37, 1, 37, 1795248045000, 'davy', 'r-good', '{"type":"step-passed","step":0}', '\x983ae46b24679859a2009a54e9d3df56ad30a59dfd2e4da85ac12e9963b2a584');
INSERT INTO davy.event VALUES (38, 1, 38, 1795248045000, 'davy', 'r-good', '{"type":"weight-requested","generation":10,"step":1,"split":{"trial":{"canary":2500}}}', '\x6d4ddb874ccf7078e8948dc808e06710d7e304e65c03dd5f77f84bb83d331545');
INSERT INTO davy.event VALUES (39, 1, 39, 1795248045000, 'davy', 'r-good', '{"type":"weight-applied","generation":10}', '\xaff4118eb4e0dcf8b9978ef2aea6e590be0699dd2a43c198cbfd86ea2d672fc4');
INSERT INTO davy.event VALUES (40, 1, 40, 1795248046000, 'davy', 'r-good', '{"type":"verdict-reached","verdict":{"kind":"undecided","epoch":10,"weight":2500,"evidence":{"rollout":{"canary":{"n":450,"x":0,"admitted":450,"repeated":0},"stable":{"n":4550,"x":4,"admitted":4550,"repeated":0}},"step":{"canary":{"n":250,"x":0,"admitted":250,"repeated":0},"stable":{"n":750,"x":1,"admitted":750,"repeated":0}},"open":{"canary":{"n":0,"x":0,"admitted":0,"repeated":0},"stable":{"n":0,"x":0,"admitted":0,"repeated":0}},"canary_rate":0.0,"stable_rate":0.0013333333333333333,"ln_e":-0.32865089901191125,"ln_needed":5.115995809754082,"amber":false,"metrics":[{"measure":"relative","share":0.6666666666666666,"ln_e":-0.5450006041326917,"ln_needed":5.521460917862247,"since_ms":1000,"since":{"canary":{"n":450,"x":0,"admitted":450,"repeated":0},"stable":{"n":4550,"x":4,"admitted":4550,"repeated":0}}}],"causes":[],"suspect":null,"promotion":{"weight":2500,"margin":0.004,"ln_e":0.8412229996760773,"ln_needed":2.995732273553991,"proven":false,"forecast":{"requests":657,"seconds":2.628}},"canary_in_flight":0,"stable_in_flight":0,"hanging":false,"limit":null,"blocks":5,"duplicates":0,"late":0,"nonsense":0,"ramp":null,"bounds":{"difference":{"estimate":-0.0008791208791208791,"low":-0.005,"high":0.01},"odds_ratio_low":0.0},"calibration":"unaudited","sample_ratio":{"given":450,"due":450.0,"routed":5000,"ln_e":-2.87403673608763,"wrong":false},"single_instance":null},"because":"Undecided: the proof that the canary''s failure rate is less than 0.4 percentage points above stable''s needs about 657 more canary requests without a failure, 3 s at the present traffic; it failed 0 of 250 requests (0 %), stable 1 of 750 requests (0.13 %), in this step."},"batches":{"first":1,"last":6,"digest":"beaeb62bb5c4195e91fb6a044d302f54897a247de475ccdcfbbce7b4b5bfb536"}}', '\xd4dab8bce4927ef19cded632dd80a05036be718148d8b085d8748da140d20be3');
INSERT INTO davy.event VALUES (41, 1, 41, 1795248046000, 'davy', 'r-good', '{"type":"weight-observed","generation":10,"observed":2500}', '\x6447c5a98d113e229c2b26d3c92313d84fa684958f49839723d64d85ad9e47f7');
INSERT INTO davy.event VALUES (61, 1, 61, 1795248081000, 'davy', 'r-ended', '{"type":"verdict-reached","verdict":{"kind":"undecided","epoch":0,"weight":0,"evidence":{"rollout":{"canary":{"n":0,"x":0,"admitted":0,"repeated":0},"stable":{"n":0,"x":0,"admitted":0,"repeated":0}},"step":{"canary":{"n":0,"x":0,"admitted":0,"repeated":0},"stable":{"n":0,"x":0,"admitted":0,"repeated":0}},"open":{"canary":{"n":0,"x":0,"admitted":0,"repeated":0},"stable":{"n":0,"x":0,"admitted":0,"repeated":0}},"canary_rate":null,"stable_rate":null,"ln_e":0.0,"ln_needed":5.115995809754082,"amber":false,"metrics":[{"measure":"relative","share":0.6666666666666666,"ln_e":0.0,"ln_needed":5.521460917862247,"since_ms":0,"since":{"canary":{"n":0,"x":0,"admitted":0,"repeated":0},"stable":{"n":0,"x":0,"admitted":0,"repeated":0}}}],"causes":[],"suspect":null,"promotion":null,"canary_in_flight":0,"stable_in_flight":0,"hanging":false,"limit":null,"blocks":0,"duplicates":0,"late":0,"nonsense":0,"ramp":null,"bounds":{"difference":{"estimate":null,"low":-1.0,"high":1.0},"odds_ratio_low":0.0},"calibration":"unaudited","sample_ratio":{"given":0,"due":0.0,"routed":0,"ln_e":0.0,"wrong":false},"single_instance":null},"because":"Undecided: nothing has been counted yet."},"batches":{"first":1,"last":1,"digest":"a6553a084af8052a8f326616ed165412ac1f149c200e195289dfcc02e16f8fb5"}}', '\x0893e9785bd5d18238b22de62183e73021a05698bf60eac0942960da2cb501a5');
INSERT INTO davy.event VALUES (62, 1, 62, 1795248081000, 'davy', 'r-ended', '{"type":"instances-ready","release":"33615f669019","instances":[{"id":"33615f669019-0","release":"33615f669019","address":"127.0.0.1:4040","health":"healthy","restarts":0,"since":1795248080000},{"id":"33615f669019-1","release":"33615f669019","address":"127.0.0.1:4041","health":"healthy","restarts":0,"since":1795248080000}]}', '\x6837dd5a5875e00d0940b9ecb82b6bea32fe039086f3b1bc33d69a67e7d5198f');
INSERT INTO davy.event VALUES (42, 1, 42, 1795248051000, 'davy', 'r-good', '{"type":"verdict-reached","verdict":{"kind":"safe","epoch":10,"weight":2500,"evidence":{"rollout":{"canary":{"n":1700,"x":1,"admitted":1700,"repeated":0},"stable":{"n":8300,"x":8,"admitted":8300,"repeated":0}},"step":{"canary":{"n":1500,"x":1,"admitted":1500,"repeated":0},"stable":{"n":4500,"x":5,"admitted":4500,"repeated":0}},"open":{"canary":{"n":0,"x":0,"admitted":0,"repeated":0},"stable":{"n":0,"x":0,"admitted":0,"repeated":0}},"canary_rate":0.0006666666666666666,"stable_rate":0.0011111111111111111,"ln_e":-0.36249728746030585,"ln_needed":5.115995809754082,"amber":false,"metrics":[{"measure":"relative","share":0.6666666666666666,"ln_e":-0.6089819627739159,"ln_needed":5.521460917862247,"since_ms":1000,"since":{"canary":{"n":1700,"x":1,"admitted":1700,"repeated":0},"stable":{"n":8300,"x":8,"admitted":8300,"repeated":0}}}],"causes":[],"suspect":null,"promotion":{"weight":2500,"margin":0.004,"ln_e":3.8654363703022883,"ln_needed":2.995732273553991,"proven":true,"forecast":null},"canary_in_flight":0,"stable_in_flight":0,"hanging":false,"limit":null,"blocks":10,"duplicates":0,"late":0,"nonsense":0,"ramp":null,"bounds":{"difference":{"estimate":-0.00037562012756909994,"low":-0.005,"high":0.005},"odds_ratio_low":0.0},"calibration":"unaudited","sample_ratio":{"given":1700,"due":1700.0,"routed":10000,"ln_e":-6.012816469200163,"wrong":false},"single_instance":null},"because":"Safe: in this step the canary failed 1 of 1,500 requests (0.0667 %), stable 5 of 4,500 requests (0.11 %), which proves its failure rate less than 0.4 percentage points above stable''s; of a canary that is worse than that this is said in at most 5 % of rollouts."},"batches":{"first":1,"last":11,"digest":"c62b818c704c49a351df07cf407cdf649346b3594ccebcfa74a64919961aa140"}}', '\x81240e9a11a8885996989089a26a15d28d165ce2b9f5c280bff71e1f592320a9');
INSERT INTO davy.event VALUES (43, 1, 43, 1795248051000, 'davy', 'r-good', '{"type":"step-passed","step":1}', '\xc8ea142ee7df6a68cb69a03a91acfdc1f754d6a4e2d1630d7ddd8de1341cb2e3');
INSERT INTO davy.event VALUES (44, 1, 44, 1795248051000, 'davy', 'r-good', '{"type":"weight-requested","generation":11,"step":2,"split":{"trial":{"canary":10000}}}', '\x3c3f1c9e1c2db7a03ab05134293ce5180a6f733cd890959aaba7ca124f556325');
INSERT INTO davy.event VALUES (45, 1, 45, 1795248051000, 'davy', 'r-good', '{"type":"weight-applied","generation":11}', '\x9dd3a83c0becc85053dece8cf8a2c09c0fcd31dd9273587e9389246bd1ad4665');
INSERT INTO davy.event VALUES (46, 1, 46, 1795248052000, 'davy', 'r-good', '{"type":"verdict-reached","verdict":{"kind":"undecided","epoch":11,"weight":10000,"evidence":{"rollout":{"canary":{"n":2700,"x":2,"admitted":2700,"repeated":0},"stable":{"n":8300,"x":8,"admitted":8300,"repeated":0}},"step":{"canary":{"n":1000,"x":1,"admitted":1000,"repeated":0},"stable":{"n":0,"x":0,"admitted":0,"repeated":0}},"open":{"canary":{"n":0,"x":0,"admitted":0,"repeated":0},"stable":{"n":0,"x":0,"admitted":0,"repeated":0}},"canary_rate":0.001,"stable_rate":null,"ln_e":-0.6334719556115732,"ln_needed":5.115995809754082,"amber":false,"metrics":[{"measure":"relative","share":0.6666666666666666,"ln_e":-0.6089819627739159,"ln_needed":5.521460917862247,"since_ms":1000,"since":{"canary":{"n":2700,"x":2,"admitted":2700,"repeated":0},"stable":{"n":8300,"x":8,"admitted":8300,"repeated":0}}},{"measure":"absolute","share":0.3333333333333333,"ln_e":-0.6843281577328432,"ln_needed":6.214608098422192,"since_ms":11000,"since":{"canary":{"n":1000,"x":1,"admitted":1000,"repeated":0},"stable":{"n":0,"x":0,"admitted":0,"repeated":0}}}],"causes":[],"suspect":null,"promotion":null,"canary_in_flight":0,"stable_in_flight":0,"hanging":false,"limit":{"rate":0.005667648129333453,"origin":"past","since_ms":11000,"standing":"clean"},"blocks":11,"duplicates":0,"late":0,"nonsense":0,"ramp":null,"bounds":{"difference":{"estimate":-0.00037562012756909994,"low":-0.005,"high":0.005},"odds_ratio_low":0.0},"calibration":"unaudited","sample_ratio":{"given":1700,"due":1700.0,"routed":10000,"ln_e":-6.012816469200163,"wrong":false},"single_instance":null},"because":"Undecided: at 100 % the canary is judged against the past: it failed 1 of 1,000 requests (0.1 %), stable''s past allows 0.57 %, and one whole hold without evidence against it ends the rollout."},"batches":{"first":1,"last":12,"digest":"60363ba917447d6b1484ff068329a040cfb46343ac2abd618bd13ad5b00c8ea4"}}', '\x00a28ede19ad93588408debcda3adfbaf2ab4ab47f57bc8418ccfa8a21178927');
INSERT INTO davy.event VALUES (47, 1, 47, 1795248052000, 'davy', 'r-good', '{"type":"weight-observed","generation":11,"observed":10000}', '\xb92df2c25a194ff9f3f8739a90ce5be66b4b891632b6ae6a74a679b3499fe4fd');
INSERT INTO davy.event VALUES (48, 1, 48, 1795248054000, 'davy', 'r-good', '{"type":"promoted"}', '\x146c6754ebff94f0c02d7d85427a2f5ddf94f9e0256046397e7e533e2b55ecc0');
INSERT INTO davy.event VALUES (49, 1, 49, 1795248054000, 'davy', 'r-good', '{"type":"weight-requested","generation":12,"step":null,"split":"bake"}', '\x89b6f25db2929804b50711cb307d67216cc0b6fe94a9556569e9b041e00ac7a4');
INSERT INTO davy.event VALUES (50, 1, 50, 1795248054000, 'davy', 'r-good', '{"type":"weight-applied","generation":12}', '\xa167739a53d08d7ca6ddab4c45eba7dc06c31a2f5bfcaa0b67803b7cce76c407');
INSERT INTO davy.event VALUES (51, 1, 51, 1795248059000, 'davy', 'r-good', '{"type":"bake-ended"}', '\x4f6ec870f3bb60dc586670c8756e69d615ba1e4a247cd15bb0f8d33cbb003c92');
INSERT INTO davy.event VALUES (52, 1, 52, 1795248060000, 'davy', 'r-good', '{"type":"weight-requested","generation":13,"step":null,"split":{"only":{"release":"99e1f19cc364"}}}', '\x628d4038ac194f6741d65e37320d234fbcc094b2fa7c95809e663f868e4ebef1');
INSERT INTO davy.event VALUES (53, 1, 53, 1795248060000, 'davy', 'r-good', '{"type":"weight-applied","generation":13}', '\x2791138bc4fee6a6e8c01c149a664597e4ecd56a1568e3a1e95d79382a093671');
INSERT INTO davy.event VALUES (54, 1, 54, 1795248061000, 'davy', 'r-good', '{"type":"draining","release":"11b7aceffb6f"}', '\x415dc99ba9297ca9c8eda1a0971309990c2490067dd653b39c2d0c0b83f2c115');
INSERT INTO davy.event VALUES (55, 1, 55, 1795248062000, 'davy', 'r-good', '{"type":"removal-requested","generation":14,"release":"11b7aceffb6f"}', '\xdfbfb496df2d78be113f86d46ffd68913f38277133d51af37987cc0fc3726906');
INSERT INTO davy.event VALUES (56, 1, 56, 1795248062000, 'davy', 'r-good', '{"type":"removed","release":"11b7aceffb6f"}', '\x4fd637417089d9d55565d540bdbf2da84a19151cd1fdd6baacd15627a66611b4');
INSERT INTO davy.event VALUES (57, 1, 57, 1795248062000, 'davy', 'r-good', '{"type":"rollout-finished","rollout":"r-good","outcome":"promoted","why":"every step was passed and the last weight was held and observed"}', '\xeea4fd3e995626d579a8da325774b06935bcd389fdd5473752c89367e8bfa286');
INSERT INTO davy.event VALUES (58, 1, 58, 1795248080000, 'mira', 'r-ended', '{"type":"rollout-requested","request":{"rollout":"r-ended","release":{"id":"33615f669019","digest":"sha256:2277777777777777777777777777777777777777777777777777777777777777","workload":{"run":{"process":{"command":["./logo","--version","2.2","--port","$PORT"],"files":[]}},"env":{},"replicas":2,"health":{"path":"/healthz","grace":10000,"interval":1000},"route":{"host":null,"path":"/"}}},"policy":{"strategy":{"canary":{"steps":[{"weight":500,"scale":"all","matches":[],"mirror":null},{"weight":2500,"scale":"all","matches":[],"mirror":null},{"weight":10000,"scale":"all","matches":[],"mirror":null}],"sticky":false,"auto":false}},"hold":3000,"deadline":20000,"on_deadline":"pause","pause_limit":60000,"drain":2000,"bake":5000,"analysis":{"alpha":0.01,"beta":0.05,"max_error_rate":null,"not_worse_than_stable":true,"slo":null,"margin":null,"harm_budget":{"excess":50.0},"latency":null,"not_slower_than":null,"burst":1,"metrics":[],"source":null}},"by":"mira","kind":"deploy"}}', '\x0b6cf6612ac54d04a24421576ff2161607fea4a516972615f2a6b4fdf2b928e5');
INSERT INTO davy.event VALUES (59, 1, 59, 1795248080000, 'mira', 'r-ended', '{"type":"instances-requested","generation":15,"release":"33615f669019","count":2}', '\x6ed6e4c2bddef8f8271aaad2dcf2c786d3eec9e979c6f4139c7e3a38ce50ff7c');
INSERT INTO davy.event VALUES (60, 1, 60, 1795248080000, 'mira', 'r-ended', '{"type":"instances-ordered","generation":15}', '\x683093cb3aafb883272a3c9497c385254f26ca5a09d47d3a45791d75698558a5');
INSERT INTO davy.event VALUES (63, 1, 63, 1795248081000, 'davy', 'r-ended', '{"type":"weight-requested","generation":16,"step":0,"split":{"trial":{"canary":500}}}', '\xc25db3fe47c14931203a817f2c37a1ad8f368417a7bf87e4e6aff00f5762b01d');
INSERT INTO davy.event VALUES (64, 1, 64, 1795248081000, 'davy', 'r-ended', '{"type":"weight-applied","generation":16}', '\xd8ca003c20e6bc7da720c2f7dc0c809c20b7ccfaea0078aa8f7db2ec7da7e5f0');
INSERT INTO davy.event VALUES (65, 1, 65, 1795248082000, 'davy', 'r-ended', '{"type":"verdict-reached","verdict":{"kind":"undecided","epoch":16,"weight":500,"evidence":{"rollout":{"canary":{"n":50,"x":0,"admitted":50,"repeated":0},"stable":{"n":950,"x":0,"admitted":950,"repeated":0}},"step":{"canary":{"n":50,"x":0,"admitted":50,"repeated":0},"stable":{"n":950,"x":0,"admitted":950,"repeated":0}},"open":{"canary":{"n":0,"x":0,"admitted":0,"repeated":0},"stable":{"n":0,"x":0,"admitted":0,"repeated":0}},"canary_rate":0.0,"stable_rate":0.0,"ln_e":-5.551115123125783e-17,"ln_needed":5.115995809754082,"amber":false,"metrics":[{"measure":"relative","share":0.6666666666666666,"ln_e":0.0,"ln_needed":5.521460917862247,"since_ms":1000,"since":{"canary":{"n":50,"x":0,"admitted":50,"repeated":0},"stable":{"n":950,"x":0,"admitted":950,"repeated":0}}}],"causes":[],"suspect":null,"promotion":{"weight":500,"margin":0.02,"ln_e":0.7605487479855135,"ln_needed":2.995732273553991,"proven":false,"forecast":{"requests":132,"seconds":2.64}},"canary_in_flight":0,"stable_in_flight":0,"hanging":false,"limit":null,"blocks":1,"duplicates":0,"late":0,"nonsense":0,"ramp":null,"bounds":{"difference":{"estimate":0.0,"low":-1.0,"high":0.1},"odds_ratio_low":0.0},"calibration":"unaudited","sample_ratio":{"given":50,"due":50.0,"routed":1000,"ln_e":-1.4272430238726157,"wrong":false},"single_instance":null},"because":"Undecided: the proof that the canary''s failure rate is less than 2 percentage points above stable''s needs about 132 more canary requests without a failure, 3 s at the present traffic; it failed 0 of 50 requests (0 %), stable 0 of 950 requests (0 %), in this step."},"batches":{"first":1,"last":2,"digest":"2a27f1820d1cf3ffe5b63c727c25e48d0e6b6fcce609e176aa7209c2a643e079"}}', '\x8de370ef859372afaf757e427f456bf9e669ad491e630bd1d8c57e7796d6a652');
INSERT INTO davy.event VALUES (66, 1, 66, 1795248082000, 'davy', 'r-ended', '{"type":"weight-observed","generation":16,"observed":500}', '\x5312c0db098a21f036ce22cd47c3f4348ac0998360d4660ac33c63a45c494e4f');
INSERT INTO davy.event VALUES (67, 1, 67, 1795248082000, 'jo|an', 'r-ended', '{"type":"revert-requested","generation":17,"cause":{"cause":"person","by":"jo|an"}}', '\x38f4f69e477277b73c1739d5b098916f863d69f9cafe1912dae6c9c2aa68f654');
INSERT INTO davy.event VALUES (68, 1, 68, 1795248082000, 'jo|an', 'r-ended', '{"type":"reverted","generation":16,"cause":null}', '\xb03e279da3aeccc23eb335c36597e31f324e78976ba1d54ca9d92b5184f082d9');
INSERT INTO davy.event VALUES (69, 1, 69, 1795248083000, 'davy', 'r-ended', '{"type":"weight-requested","generation":18,"step":null,"split":{"only":{"release":"99e1f19cc364"}}}', '\xdc7150e8629bb0fa8203fee65db04a37567754b18f27f3a233ccf5b690e6f59e');
INSERT INTO davy.event VALUES (70, 1, 70, 1795248083000, 'davy', 'r-ended', '{"type":"weight-applied","generation":18}', '\xef45d7c215663d9899492cb5fd53de1f52b7082eb4441a2265066a0e4ba44989');
INSERT INTO davy.event VALUES (71, 1, 71, 1795248084000, 'davy', 'r-ended', '{"type":"draining","release":"33615f669019"}', '\x78aff9cabec27dbc7cade12fa2eb38c8bec7762eaaedac202297c8ceb5c2c915');
INSERT INTO davy.event VALUES (72, 1, 72, 1795248085000, 'davy', 'r-ended', '{"type":"removal-requested","generation":19,"release":"33615f669019"}', '\x9745e3c91c0ef562f257d2afa17023635727f54a70dccf834e30ebab4b6cc7d2');
INSERT INTO davy.event VALUES (73, 1, 73, 1795248085000, 'davy', 'r-ended', '{"type":"removed","release":"33615f669019"}', '\x2f887fb854653c361283bfce905d2550d8285c3709440c0c0d757d3db89677de');
INSERT INTO davy.event VALUES (74, 1, 74, 1795248085000, 'davy', 'r-ended', '{"type":"rollout-finished","rollout":"r-ended","outcome":"aborted","why":"jo|an asked for it"}', '\x67aaa30981cdd09c1a2e194fed4b853620bf968b62924018e35e9c074e420104');
INSERT INTO davy.event VALUES (75, 1, 75, 1795248090000, 'mira', 'r-open', '{"type":"rollout-requested","request":{"rollout":"r-open","release":{"id":"84563a2ce4a1","digest":"sha256:2377777777777777777777777777777777777777777777777777777777777777","workload":{"run":{"process":{"command":["./logo","--version","2.3","--port","$PORT"],"files":[]}},"env":{},"replicas":2,"health":{"path":"/healthz","grace":10000,"interval":1000},"route":{"host":null,"path":"/"}}},"policy":{"strategy":{"canary":{"steps":[{"weight":500,"scale":"all","matches":[],"mirror":null},{"weight":2500,"scale":"all","matches":[],"mirror":null},{"weight":10000,"scale":"all","matches":[],"mirror":null}],"sticky":false,"auto":false}},"hold":3000,"deadline":20000,"on_deadline":"pause","pause_limit":60000,"drain":2000,"bake":5000,"analysis":{"alpha":0.01,"beta":0.05,"max_error_rate":null,"not_worse_than_stable":true,"slo":null,"margin":null,"harm_budget":{"excess":50.0},"latency":null,"not_slower_than":null,"burst":1,"metrics":[],"source":null}},"by":"mira","kind":"deploy"}}', '\xd847391d233a5a719b3562d8113e0a0d39e939609222cb0df3778d4cd7d6c07e');
INSERT INTO davy.event VALUES (76, 1, 76, 1795248090000, 'mira', 'r-open', '{"type":"instances-requested","generation":20,"release":"84563a2ce4a1","count":2}', '\x7d09d10448b7fc2a8111411738d4302b2025b3e725b0c755cd7751ced744f5ab');
INSERT INTO davy.event VALUES (77, 1, 77, 1795248090000, 'mira', 'r-open', '{"type":"instances-ordered","generation":20}', '\xa04be9443cc9e28ab50f770cbfc1beb68ef6d1f3885d04ecbb8e6a3fc9062432');
INSERT INTO davy.event VALUES (78, 1, 78, 1795248091000, 'davy', 'r-open', '{"type":"verdict-reached","verdict":{"kind":"undecided","epoch":0,"weight":0,"evidence":{"rollout":{"canary":{"n":0,"x":0,"admitted":0,"repeated":0},"stable":{"n":0,"x":0,"admitted":0,"repeated":0}},"step":{"canary":{"n":0,"x":0,"admitted":0,"repeated":0},"stable":{"n":0,"x":0,"admitted":0,"repeated":0}},"open":{"canary":{"n":0,"x":0,"admitted":0,"repeated":0},"stable":{"n":0,"x":0,"admitted":0,"repeated":0}},"canary_rate":null,"stable_rate":null,"ln_e":0.0,"ln_needed":5.115995809754082,"amber":false,"metrics":[{"measure":"relative","share":0.6666666666666666,"ln_e":0.0,"ln_needed":5.521460917862247,"since_ms":0,"since":{"canary":{"n":0,"x":0,"admitted":0,"repeated":0},"stable":{"n":0,"x":0,"admitted":0,"repeated":0}}}],"causes":[],"suspect":null,"promotion":null,"canary_in_flight":0,"stable_in_flight":0,"hanging":false,"limit":null,"blocks":0,"duplicates":0,"late":0,"nonsense":0,"ramp":null,"bounds":{"difference":{"estimate":null,"low":-1.0,"high":1.0},"odds_ratio_low":0.0},"calibration":"unaudited","sample_ratio":{"given":0,"due":0.0,"routed":0,"ln_e":0.0,"wrong":false},"single_instance":null},"because":"Undecided: nothing has been counted yet."},"batches":{"first":1,"last":1,"digest":"c84e3287ca79e3872d3991d4f42e36ac0ce21985732a960b0661175f6ebb3726"}}', '\x61eccc2aab465cd4e4cab440ad913eaa0bbe93063addefbf83e26ef3026a6b51');
INSERT INTO davy.event VALUES (79, 1, 79, 1795248091000, 'davy', 'r-open', '{"type":"instances-ready","release":"84563a2ce4a1","instances":[{"id":"84563a2ce4a1-0","release":"84563a2ce4a1","address":"127.0.0.1:4050","health":"healthy","restarts":0,"since":1795248090000},{"id":"84563a2ce4a1-1","release":"84563a2ce4a1","address":"127.0.0.1:4051","health":"healthy","restarts":0,"since":1795248090000}]}', '\xe12f3e9dad7a91a1cbfbaf87bdee466e617e111f896da19be901436644b05a13');
INSERT INTO davy.event VALUES (80, 1, 80, 1795248091000, 'davy', 'r-open', '{"type":"weight-requested","generation":21,"step":0,"split":{"trial":{"canary":500}}}', '\xde69c1a1deb7ade2c3e10c889171a407ed0533e922385bca385c1bb98f730dbf');
INSERT INTO davy.event VALUES (81, 1, 81, 1795248091000, 'davy', 'r-open', '{"type":"weight-applied","generation":21}', '\x4b02fdacd8f9e22f8cc9f9d99d9dcbb1184bf546f71ce22a3bafdfd88c6ec3e1');
INSERT INTO davy.event VALUES (82, 1, 82, 1795248092000, 'davy', 'r-open', '{"type":"verdict-reached","verdict":{"kind":"undecided","epoch":21,"weight":500,"evidence":{"rollout":{"canary":{"n":50,"x":0,"admitted":50,"repeated":0},"stable":{"n":950,"x":0,"admitted":950,"repeated":0}},"step":{"canary":{"n":50,"x":0,"admitted":50,"repeated":0},"stable":{"n":950,"x":0,"admitted":950,"repeated":0}},"open":{"canary":{"n":0,"x":0,"admitted":0,"repeated":0},"stable":{"n":0,"x":0,"admitted":0,"repeated":0}},"canary_rate":0.0,"stable_rate":0.0,"ln_e":-5.551115123125783e-17,"ln_needed":5.115995809754082,"amber":false,"metrics":[{"measure":"relative","share":0.6666666666666666,"ln_e":0.0,"ln_needed":5.521460917862247,"since_ms":1000,"since":{"canary":{"n":50,"x":0,"admitted":50,"repeated":0},"stable":{"n":950,"x":0,"admitted":950,"repeated":0}}}],"causes":[],"suspect":null,"promotion":{"weight":500,"margin":0.02,"ln_e":0.7605487479855135,"ln_needed":2.995732273553991,"proven":false,"forecast":{"requests":132,"seconds":2.64}},"canary_in_flight":0,"stable_in_flight":0,"hanging":false,"limit":null,"blocks":1,"duplicates":0,"late":0,"nonsense":0,"ramp":null,"bounds":{"difference":{"estimate":0.0,"low":-1.0,"high":0.1},"odds_ratio_low":0.0},"calibration":"unaudited","sample_ratio":{"given":50,"due":50.0,"routed":1000,"ln_e":-1.4272430238726157,"wrong":false},"single_instance":null},"because":"Undecided: the proof that the canary''s failure rate is less than 2 percentage points above stable''s needs about 132 more canary requests without a failure, 3 s at the present traffic; it failed 0 of 50 requests (0 %), stable 0 of 950 requests (0 %), in this step."},"batches":{"first":1,"last":2,"digest":"09ae4d9551f79f144bff4feb149a4bb1d8123153a080a72e00326567ca605d24"}}', '\x775c92c1aaa530ceb331b9a8342f62f01fa349f107c63157c7de2f6b762a03cd');
INSERT INTO davy.event VALUES (83, 1, 83, 1795248092000, 'davy', 'r-open', '{"type":"weight-observed","generation":21,"observed":500}', '\xc69082afb8e9fa954b1d897a48bc40d837c62729993a591148a8343659f3c53e');
INSERT INTO davy.event VALUES (84, 1, 84, 1795248095000, 'davy', 'r-open', '{"type":"verdict-reached","verdict":{"kind":"safe","epoch":21,"weight":500,"evidence":{"rollout":{"canary":{"n":200,"x":0,"admitted":200,"repeated":0},"stable":{"n":3800,"x":3,"admitted":3800,"repeated":0}},"step":{"canary":{"n":200,"x":0,"admitted":200,"repeated":0},"stable":{"n":3800,"x":3,"admitted":3800,"repeated":0}},"open":{"canary":{"n":0,"x":0,"admitted":0,"repeated":0},"stable":{"n":0,"x":0,"admitted":0,"repeated":0}},"canary_rate":0.0,"stable_rate":0.0007894736842105263,"ln_e":-0.28620779253109707,"ln_needed":5.115995809754082,"amber":false,"metrics":[{"measure":"relative","share":0.6666666666666666,"ln_e":-0.46735148831264384,"ln_needed":5.521460917862247,"since_ms":1000,"since":{"canary":{"n":200,"x":0,"admitted":200,"repeated":0},"stable":{"n":3800,"x":3,"admitted":3800,"repeated":0}}}],"causes":[],"suspect":null,"promotion":{"weight":500,"margin":0.02,"ln_e":3.401340797724134,"ln_needed":2.995732273553991,"proven":true,"forecast":null},"canary_in_flight":0,"stable_in_flight":0,"hanging":false,"limit":null,"blocks":4,"duplicates":0,"late":0,"nonsense":0,"ramp":null,"bounds":{"difference":{"estimate":-0.0007894736842105263,"low":-0.005,"high":0.05},"odds_ratio_low":0.0},"calibration":"unaudited","sample_ratio":{"given":200,"due":200.0,"routed":4000,"ln_e":-2.2250613861147923,"wrong":false},"single_instance":null},"because":"Safe: in this step the canary failed 0 of 200 requests (0 %), stable 3 of 3,800 requests (0.0789 %), which proves its failure rate less than 2 percentage points above stable''s; of a canary that is worse than that this is said in at most 5 % of rollouts."},"batches":{"first":1,"last":5,"digest":"f624d2b057a3e8714a7bd2c48f12a896014600d2f3019792dcff4d66a12d6782"}}', '\x5229568876d35a22a4be671ddac42e54a90a795e0141b711bd165e667c3de4f9');
INSERT INTO davy.event VALUES (85, 1, 85, 1795248095000, 'davy', 'r-open', '{"type":"step-passed","step":0}', '\xc024b69fd5f43cbc2854a866d008804761ecec9efd544791cdc5581dbbb1c87a');
INSERT INTO davy.event VALUES (86, 1, 86, 1795248095000, 'davy', 'r-open', '{"type":"weight-requested","generation":22,"step":1,"split":{"trial":{"canary":2500}}}', '\x322008faa1a6cdcd9d4aab8bf35fb88c399ab90faa8bae7b6b78cd96fe3b9865');
INSERT INTO davy.event VALUES (87, 1, 87, 1795248095000, 'davy', 'r-open', '{"type":"weight-applied","generation":22}', '\x0bdb4873eb45ce3beb1b9e9d8f3a6e110b3a7a2ef1e4080acd6c563da237e9f3');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (1, 1, 1, '[1,2,0,1795248000000,false,null,["production","logo","boot",10,2,0,1795248001000,1795248002000,0,[["11b7aceffb6f","stable","11b7aceffb6f-0",1000,1000,[1,0,0,0],0,[3,1000]]]]]', '\x43f358f21209032dd6b1abf268835112a464ebe6e61a9b1f8adc5e586f3e3e7d');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (8, 8, 1, '[1,6,0,1795248040000,false,null,["production","logo","boot",10,6,0,1795248040000,1795248041000,0,[["11b7aceffb6f","stable","11b7aceffb6f-0",1000,1000,[1,0,0,0],0,[3,1000]]]]]', '\xbf431626ca5402f4ea9e2de5e2a2b4d49856e95dedc0790c287f9abb7a0fb043');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (9, 8, 2, '[1,9,500,1795248040000,true,null,["production","logo","boot",20,9,500,1795248041000,1795248042000,0,[["99e1f19cc364","canary","99e1f19cc364-0",50,50,[0,0,0,0],0,[3,50]],["11b7aceffb6f","stable","11b7aceffb6f-0",950,950,[0,0,0,0],0,[3,950]]]]]', '\x8cc87ac0e629e283d7043aa814cf073ff7b0c7c82c77ebde2fbda5d59797cf72');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (10, 8, 3, '[1,9,500,1795248040000,true,null,["production","logo","boot",30,9,500,1795248042000,1795248043000,0,[["99e1f19cc364","canary","99e1f19cc364-0",50,50,[0,0,0,0],0,[3,50]],["11b7aceffb6f","stable","11b7aceffb6f-0",950,950,[1,0,0,0],0,[3,950]]]]]', '\xfa49a03a5834fe9bde1e2ede04fcd696168fd899994595355d39730fd976c31f');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (11, 8, 4, '[1,9,500,1795248040000,true,null,["production","logo","boot",40,9,500,1795248043000,1795248044000,0,[["99e1f19cc364","canary","99e1f19cc364-0",50,50,[0,0,0,0],0,[3,50]],["11b7aceffb6f","stable","11b7aceffb6f-0",950,950,[1,0,0,0],0,[3,950]]]]]', '\x3946ffc608aac96e82fa0f01aefe833b4d3861da041656a5514b338609ed922f');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (12, 8, 5, '[1,9,500,1795248040000,true,null,["production","logo","boot",50,9,500,1795248044000,1795248045000,0,[["99e1f19cc364","canary","99e1f19cc364-0",50,50,[0,0,0,0],0,[3,50]],["11b7aceffb6f","stable","11b7aceffb6f-0",950,950,[1,0,0,0],0,[3,950]]]]]', '\xb3cf4d8817f8a5670309db489e522a35840e694ccf226b366a7410681716e660');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (13, 8, 6, '[1,10,2500,1795248040000,true,null,["production","logo","boot",60,10,2500,1795248045000,1795248046000,0,[["99e1f19cc364","canary","99e1f19cc364-0",250,250,[0,0,0,0],0,[3,250]],["11b7aceffb6f","stable","11b7aceffb6f-0",750,750,[1,0,0,0],0,[3,750]]]]]', '\xea36343d9da72485bee67080cdab4a8f45e1af03c88ee2c5641bbb44e1a9b1f8');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (14, 8, 7, '[1,10,2500,1795248040000,true,null,["production","logo","boot",70,10,2500,1795248046000,1795248047000,0,[["99e1f19cc364","canary","99e1f19cc364-0",250,250,[0,0,0,0],0,[3,250]],["11b7aceffb6f","stable","11b7aceffb6f-0",750,750,[1,0,0,0],0,[3,750]]]]]', '\x2896275e370ee8807240b85d36fe87c4f667826e245ff49d2f31519f4c491147');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (15, 8, 8, '[1,10,2500,1795248040000,true,null,["production","logo","boot",80,10,2500,1795248047000,1795248048000,0,[["99e1f19cc364","canary","99e1f19cc364-0",250,250,[0,0,0,0],0,[3,250]],["11b7aceffb6f","stable","11b7aceffb6f-0",750,750,[1,0,0,0],0,[3,750]]]]]', '\x9b3e399e4a757ae85c96587b52cf16fdc485fe0d949b1a2f0cfb4929984de213');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (16, 8, 9, '[1,10,2500,1795248040000,true,null,["production","logo","boot",90,10,2500,1795248048000,1795248049000,0,[["99e1f19cc364","canary","99e1f19cc364-0",250,250,[1,0,0,0],0,[3,250]],["11b7aceffb6f","stable","11b7aceffb6f-0",750,750,[0,0,0,0],0,[3,750]]]]]', '\x8781c5b23e392d24937ffd555d38f3acd568eacd1fbd1f6b1fb69acc8ab8c850');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (17, 8, 10, '[1,10,2500,1795248040000,true,null,["production","logo","boot",100,10,2500,1795248049000,1795248050000,0,[["99e1f19cc364","canary","99e1f19cc364-0",250,250,[0,0,0,0],0,[3,250]],["11b7aceffb6f","stable","11b7aceffb6f-0",750,750,[1,0,0,0],0,[3,750]]]]]', '\x189ddbe1d4872b8a590a8292451acdb8f46978d2890433f4c7685a0f83ac3e35');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (18, 8, 11, '[1,10,2500,1795248040000,true,null,["production","logo","boot",110,10,2500,1795248050000,1795248051000,0,[["99e1f19cc364","canary","99e1f19cc364-0",250,250,[0,0,0,0],0,[3,250]],["11b7aceffb6f","stable","11b7aceffb6f-0",750,750,[1,0,0,0],0,[3,750]]]]]', '\xb56a4c14b54c2bf95faf16db1fdf383c635ca9ef13756c3b61d0996149b4f2c2');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (19, 8, 12, '[1,11,10000,1795248040000,true,null,["production","logo","boot",120,11,10000,1795248051000,1795248052000,0,[["99e1f19cc364","canary","99e1f19cc364-0",1000,1000,[1,0,0,0],0,[3,1000]]]]]', '\xdcfefe73ec770d5666e24d703a5213939ca63c699375ea082c150226a46c3054');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (20, 8, 13, '[1,11,10000,1795248040000,true,null,["production","logo","boot",130,11,10000,1795248052000,1795248053000,0,[["99e1f19cc364","canary","99e1f19cc364-0",1000,1000,[1,0,0,0],0,[3,1000]]]]]', '\xd9c1f2c2c48e92b7e996644090c2ff43dc5169d1c57124f00cf614c560fbdceb');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (21, 8, 14, '[1,11,10000,1795248040000,true,null,["production","logo","boot",140,11,10000,1795248053000,1795248054000,0,[["99e1f19cc364","canary","99e1f19cc364-0",1000,1000,[1,0,0,0],0,[3,1000]]]]]', '\xd74f4830a9244d57e9950ac1df887ab3504f8f09bffb609c3adc80db540fee69');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (22, 8, 15, '[1,12,10000,1795248040000,true,null,["production","logo","boot",150,12,10000,1795248054000,1795248055000,0,[["99e1f19cc364","canary","99e1f19cc364-0",1000,1000,[1,0,0,0],0,[3,1000]]]]]', '\x1a9b30d946af2851d7c823f3f0ce6b496ae7a861a1143664b987f6f17bb7deb2');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (23, 8, 16, '[1,12,10000,1795248040000,true,null,["production","logo","boot",160,12,10000,1795248055000,1795248056000,0,[["99e1f19cc364","canary","99e1f19cc364-0",1000,1000,[1,0,0,0],0,[3,1000]]]]]', '\xfbee2dc40fc801175826a82ac34a13903a8bff83f91d7c10362f72f203f23cef');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (24, 8, 17, '[1,12,10000,1795248040000,true,null,["production","logo","boot",170,12,10000,1795248056000,1795248057000,0,[["99e1f19cc364","canary","99e1f19cc364-0",1000,1000,[1,0,0,0],0,[3,1000]]]]]', '\xb53d378be0f2f830aca750a4a09c1f468023f186baabb4bd7c37c18d005b860a');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (25, 8, 18, '[1,12,10000,1795248040000,true,null,["production","logo","boot",180,12,10000,1795248057000,1795248058000,0,[["99e1f19cc364","canary","99e1f19cc364-0",1000,1000,[1,0,0,0],0,[3,1000]]]]]', '\xedad9b3e42e707ec62cb057aa86902db9c6608b976763dfd27cc4deb194b2464');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (26, 8, 19, '[1,12,10000,1795248040000,true,null,["production","logo","boot",190,12,10000,1795248058000,1795248059000,0,[["99e1f19cc364","canary","99e1f19cc364-0",1000,1000,[1,0,0,0],0,[3,1000]]]]]', '\x3c270e4009c0348271cb8ce669b046819769c4d1285444151582dc4322531132');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (27, 8, 20, '[1,12,10000,1795248040000,true,null,["production","logo","boot",200,12,10000,1795248059000,1795248060000,0,[["99e1f19cc364","canary","99e1f19cc364-0",1000,1000,[1,0,0,0],0,[3,1000]]]]]', '\x1b1b2281bc14cf711d31951a30787cbb3ef7afb6f680a58086b1910ee0d2ba55');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (28, 8, 21, '[1,13,0,1795248040000,false,null,["production","logo","boot",210,13,0,1795248060000,1795248061000,0,[["99e1f19cc364","stable","99e1f19cc364-0",1000,1000,[1,0,0,0],0,[3,1000]]]]]', '\x14520cdb56ab1d1c254cde0012018a0c0857fdf63cffa67c6383a613e014fc64');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (29, 8, 22, '[1,13,0,1795248040000,false,null,["production","logo","boot",220,13,0,1795248061000,1795248062000,0,[["99e1f19cc364","stable","99e1f19cc364-0",1000,1000,[1,0,0,0],0,[3,1000]]]]]', '\x824244cc68f0d518740efe09f888333828dd3e8a91a99212d0ae92a3409b5b79');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (30, 30, 1, '[1,13,0,1795248080000,false,null,["production","logo","boot",10,13,0,1795248080000,1795248081000,0,[["99e1f19cc364","stable","99e1f19cc364-0",1000,1000,[1,0,0,0],0,[3,1000]]]]]', '\x24a3e8dc1f1c57383f8113ab2289a872a72ba59055253fe5670a9f4d11fdd645');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (31, 30, 2, '[1,16,500,1795248080000,true,null,["production","logo","boot",20,16,500,1795248081000,1795248082000,0,[["33615f669019","canary","33615f669019-0",50,50,[0,0,0,0],0,[3,50]],["99e1f19cc364","stable","99e1f19cc364-0",950,950,[0,0,0,0],0,[3,950]]]]]', '\x90773578a04854b05d3b6dfcab67b16c04b3d2c7371acb11e0943af2e441f46b');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (32, 30, 3, '[1,16,0,1795248080000,false,null,["production","logo","boot",30,16,0,1795248082000,1795248083000,0,[["99e1f19cc364","stable","99e1f19cc364-0",1000,1000,[1,0,0,0],0,[3,1000]]]]]', '\x7c2291929d0c41cf639c1b693e8c252cdf094ddca6ff1745ca9b046e161394a1');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (33, 30, 4, '[1,18,0,1795248080000,false,null,["production","logo","boot",40,18,0,1795248083000,1795248084000,0,[["99e1f19cc364","stable","99e1f19cc364-0",1000,1000,[1,0,0,0],0,[3,1000]]]]]', '\xf3d7e4b34277d842fcfd60b9dac7ce30cd219ef8947978ee4ba86fb049ccd689');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (34, 30, 5, '[1,18,0,1795248080000,false,null,["production","logo","boot",50,18,0,1795248084000,1795248085000,0,[["99e1f19cc364","stable","99e1f19cc364-0",1000,1000,[1,0,0,0],0,[3,1000]]]]]', '\x05786b11ee84b67724d33c28f059fc987d05f4c9b0e1e875d8773c30d7fa531d');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (35, 35, 1, '[1,18,0,1795248090000,false,null,["production","logo","boot",10,18,0,1795248090000,1795248091000,0,[["99e1f19cc364","stable","99e1f19cc364-0",1000,1000,[1,0,0,0],0,[3,1000]]]]]', '\x5ce037450c63d008521acb9a7411d8bf90a5de273c56851ee92598b952f7d986');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (36, 35, 2, '[1,21,500,1795248090000,true,null,["production","logo","boot",20,21,500,1795248091000,1795248092000,0,[["84563a2ce4a1","canary","84563a2ce4a1-0",50,50,[0,0,0,0],0,[3,50]],["99e1f19cc364","stable","99e1f19cc364-0",950,950,[0,0,0,0],0,[3,950]]]]]', '\xa9dbb2020fc7b470cd80e0df11d1dbe987ec740f89fc08bde071a5076a32bd3b');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (37, 35, 3, '[1,21,500,1795248090000,true,null,["production","logo","boot",30,21,500,1795248092000,1795248093000,0,[["84563a2ce4a1","canary","84563a2ce4a1-0",50,50,[0,0,0,0],0,[3,50]],["99e1f19cc364","stable","99e1f19cc364-0",950,950,[1,0,0,0],0,[3,950]]]]]', '\x4bc5b991e74daae95081408e381432ac7bb27a9972ced6900caaf627c76ab871');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (38, 35, 4, '[1,21,500,1795248090000,true,null,["production","logo","boot",40,21,500,1795248093000,1795248094000,0,[["84563a2ce4a1","canary","84563a2ce4a1-0",50,50,[0,0,0,0],0,[3,50]],["99e1f19cc364","stable","99e1f19cc364-0",950,950,[1,0,0,0],0,[3,950]]]]]', '\xf96d12432cd3aac32a359d779448d4a39ee8e0eb88c6e6fe8992821513ac7035');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (39, 35, 5, '[1,21,500,1795248090000,true,null,["production","logo","boot",50,21,500,1795248094000,1795248095000,0,[["84563a2ce4a1","canary","84563a2ce4a1-0",50,50,[0,0,0,0],0,[3,50]],["99e1f19cc364","stable","99e1f19cc364-0",950,950,[1,0,0,0],0,[3,950]]]]]', '\x1ae421edf826aab7e1561f9765b860c9f8c617b9d0097df26c01b49818e228fe');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (40, 40, 1, '[2,4,0,1795248020000,false,null,["production","logo","boot",40,4,0,1795248023000,1795248024000,0,[["11b7aceffb6f","stable","11b7aceffb6f-0",1000,1000,[1,0,0,0],0,[3,1000]]]],[[0,null,[4,0,1795248023000,1795248024000,40,3,900,1]],[1,"it is gone",[]]]]', '\x117ff7caa5c4226a82c406b5ea4880198cd773942cded1dae7a9c276e6c9b23f');
INSERT INTO davy.evidence OVERRIDING SYSTEM VALUE VALUES (41, 40, 2, '[3,4,0,1795248020000,false,null,["production","logo","boot",40,4,0,1795248023000,1795248024000,0,[["11b7aceffb6f","stable","11b7aceffb6f-0",1000,1000,[1,0,0,0],0,[3,1000]]]],[[0,null,[4,0,1795248023000,1795248024000,40,3,900,1]],[1,"it is gone",[]]],[[12,true,[10,9,2,1],[0,5,117,2]]],true]', '\x9ebc6def8913e6a7b062bd36ea213c7eb2d01d56d39a6eeb586954c65e55559f');
INSERT INTO davy.journal VALUES (true, 6, 87, 12, 0);
INSERT INTO davy.lease VALUES (true, 0, '-infinity', '', '', false);
INSERT INTO davy.observed OVERRIDING SYSTEM VALUE VALUES (1, 'r-first', NULL);
INSERT INTO davy.observed OVERRIDING SYSTEM VALUE VALUES (8, 'r-good', NULL);
INSERT INTO davy.observed OVERRIDING SYSTEM VALUE VALUES (30, 'r-ended', NULL);
INSERT INTO davy.observed OVERRIDING SYSTEM VALUE VALUES (35, 'r-open', NULL);
INSERT INTO davy.observed OVERRIDING SYSTEM VALUE VALUES (40, 'r-apart', NULL);
INSERT INTO davy.observed OVERRIDING SYSTEM VALUE VALUES (2, 'r-bad', 12);
INSERT INTO davy.pack VALUES (10, 25, 1, 25, 'r-bad', '\x01789cdd98ff8e9b3810c7ffbfa74048957a128dfcdb38f702f702f75755ad0c360957023943762f5aedbbdfd886947493344a375be956d6cac1f68c99197f3fc0678c32dfa4e284e58820f8cbd24ded74fae5b7e774d86f6dba4cebb61f745bdafe93b3ffec6c3f589366e9cab6d6e9a1eeda7449b3d4d9c6eade4fa792215e584ab52a605ed9edda215d9297df3e639cf976adb7ce19eb5efbf28648e6db64080743463feee7861ead337539c0a675b90e66c62be9f239fd5ab706e6ec5a63cbda8451bbedca75ba044b4fb65ead87d0b58f300abbf16b5cd734dd2e2c2f75abdddef7da30eddff05f9b4d3df8e8f81fce6ead8e3f5eb214eea968ecd50bc20abb7d2757ddd6b6efe42aba788064c2b276d7349391a34b4dfb007db440a1db5aeb33b4e40b8cb9523c474a72867202ae368575e9b2d24d6fa194ece0eab24f979f9fa1affb9df375009509a5f36821c5fd5abb60587cf777de25279809a4b0cc05214c828d1acae161d387bb0b3fde25742f5f7cf076bdf5b707fd7ed76fadafe518b1adeb365d3c20f1c218e8ba7da89a43358fa13ebeb8d6edaa6e5787283635ec613253345df935deabd96d9bba840dc59f4dc81774daaeed6ddbc71f4e6fb687b570f24def6fd1d4550547798c152848bd9967bb7b4a979fb00ffd1a76952ea1ebabd298fe219cfa87300385aba56eea62d20238bf7a67ea28483db88e755477decd0a72de8e3b9f52ebe0fc8ed19d25fcc97587fb7f09495d852845218adb84eb850d0900b77f4db2b14cda6e58c3fc64adfba4b0b64d82de5993ecedb048fd2a3d80fc843054b5eb21b2d8076fec987a657d374539d5da54259250debacc9110b4a40c4b5d905c0a5e1684636d15a59cd182505ee88a55d2604c72a45199be785da4996f9775712ee7daecd30bda7d981a8e546dbe9bf1095d5aac8d71b687a529267201815ee02503d587a1b5d5cd00891e3b710fe0ca0d47c7ea88142fd9a91de01b76806fddc1171f6296f97639c411206771c92675f78ee05005a48074e9662e251cf9630f1e79e6db551ef516ccbdf6e7ad88ccb7c90a794b64b26fc8e4e84a68f2a87964ae79fcb24a2a7e422715bf129df774f8ab000a25cdbe03e84430e832e02596944b2972100946afa4e9e0766f0253b6e0e09f08cc8942341f07ae426b2cf2d374bd5f22cf32767edb33d23e1f97fd463b0069480199620058135c0910f09c12ac0817e4280a640129909410c813a74ae1e020806bc471d539e04e1f4ed02828b03d2a14eccf965d20ac5cd07c561c6f057d7c17e8c7a27d057db42027a08f17fc16e8f389fafc08fbb1ac0e996144124611a179a852f9734f02c3da26310149a5eb061e0148d2550947c994b6e4234b3efc9e25312309f2c3ea681cc1f81fc1d2a4a1895e69ef3fa9a1f589c0c9d02538f988858cbda76ed798c4cb6c52e8f22b98d7ad81c792c4aba05fd2d86a489ed6b0236fd8597f4db7fb1f3d9c90d9c389e256eaaaa0408dd242562162b894b460a5b61546949a42e28a15b955845642305d60230baea8c98555323e9cc82cb48b041a39d615bd758fa7c07918097c04ab79e6db6495decc3550b34db56b7e8e6a1845a1e173a109172fa81356e32a7cb44aa12bc9766fa7bf906efc35dd10e2445038adb962928a9c1db416838428a918c931c3027ae29d81071b907018941039381104d3b721de7d137c44bd6ff77bf11df31af2d10563824ab85138ebb9a082bf09f9b84433f26150f13b908fdc8d7c53d1e258c66224a12f6c721985fcb6f7df50278185d09bc3901cc3502acc31928a4a8e39c8f30d30fc334ae8291472cf3ad8c08c757cce421cc6337534c30b0011af910800232a1392040246e01d7808837e7253b79e777a48f4b495a7dabfaa034881893ee97d52baae87ba4fe02a4cdc74805938ddc907bf9951e2fb1f7192ce38599482575ae64549a0ca0b89b8ca4b292aaae15dbe1042731832125b8e0b42a83495e4309c971695a5562a725265be5d269ab340b0f36f987c3cd2514a6276fede999597b12778dbfdffe60a02487046669f99d92dafe86262edf88d727a4befda661ff568fae6807121b57f2a2a4495861776383b845ce9fff40bbbf056684666df72f8492bc6c1c3a157b3b35f41bc259691d9270b71a6a036dda36ece06445ef4c033c2aff210ec9e35f41f07c67ec1');
INSERT INTO davy.run VALUES (1, 19, 10, 19, '\x5fe8f4ead5db173ff9b60e92d3012ced31e8d9a203b0ec4c6eed81bc67e2976f');
INSERT INTO davy.run VALUES (1, 25, 21, 25, '\x22f8c5c9f71efa74b59fea5eaef07a112bc2f098ce8700befe1f6550d62d9a54');
INSERT INTO davy.sealed OVERRIDING SYSTEM VALUE VALUES (1, '', '', 'API_KEY', 1, '\x01020304', '\x09090909090909090909090909090909090909090909090909090909090909090909090909090909');
INSERT INTO davy.stream OVERRIDING SYSTEM VALUE VALUES (1, 'production', 'logo', 87, '\x0bdb4873eb45ce3beb1b9e9d8f3a6e110b3a7a2ef1e4080acd6c563da237e9f3');
INSERT INTO davy.told VALUES ('', '', '', 4);
INSERT INTO davy.told VALUES ('production', 'logo', 'ops', 5);
SELECT pg_catalog.setval('davy.evidence_id_seq', 41, true);
SELECT pg_catalog.setval('davy.observed_id_seq', 41, true);
SELECT pg_catalog.setval('davy.sealed_id_seq', 1, true);
SELECT pg_catalog.setval('davy.stream_id_seq', 1, true);
ALTER TABLE ONLY davy.checkpoint
    ADD CONSTRAINT checkpoint_pkey PRIMARY KEY (number);
ALTER TABLE ONLY davy.deed
    ADD CONSTRAINT deed_pkey PRIMARY KEY (number);
ALTER TABLE ONLY davy.event
    ADD CONSTRAINT event_pkey PRIMARY KEY (sequence);
ALTER TABLE ONLY davy.event
    ADD CONSTRAINT event_stream_position_key UNIQUE (stream, "position");
ALTER TABLE ONLY davy.evidence
    ADD CONSTRAINT evidence_pkey PRIMARY KEY (id);
ALTER TABLE ONLY davy.evidence
    ADD CONSTRAINT evidence_rollout_number_key UNIQUE (rollout, number);
ALTER TABLE ONLY davy.journal
    ADD CONSTRAINT journal_pkey PRIMARY KEY (one);
ALTER TABLE ONLY davy.lease
    ADD CONSTRAINT lease_pkey PRIMARY KEY (one);
ALTER TABLE ONLY davy.observed
    ADD CONSTRAINT observed_pkey PRIMARY KEY (id);
ALTER TABLE ONLY davy.observed
    ADD CONSTRAINT observed_rollout_key UNIQUE (rollout);
ALTER TABLE ONLY davy.pack
    ADD CONSTRAINT pack_pkey PRIMARY KEY (first);
ALTER TABLE ONLY davy.pack
    ADD CONSTRAINT pack_rollout_key UNIQUE (rollout);
ALTER TABLE ONLY davy.run
    ADD CONSTRAINT run_pkey PRIMARY KEY (stream, until);
ALTER TABLE ONLY davy.sealed
    ADD CONSTRAINT sealed_environment_service_name_version_key UNIQUE (environment, service, name, version);
ALTER TABLE ONLY davy.sealed
    ADD CONSTRAINT sealed_pkey PRIMARY KEY (id);
ALTER TABLE ONLY davy.stream
    ADD CONSTRAINT stream_environment_service_key UNIQUE (environment, service);
ALTER TABLE ONLY davy.stream
    ADD CONSTRAINT stream_pkey PRIMARY KEY (id);
ALTER TABLE ONLY davy.told
    ADD CONSTRAINT told_pkey PRIMARY KEY (environment, service, channel);
CREATE INDEX event_of_rollout ON davy.event USING btree (rollout) WHERE (rollout IS NOT NULL);
CREATE INDEX pack_by_end ON davy.pack USING btree (last);
CREATE INDEX pack_of_stream ON davy.pack USING btree (stream, until);
CREATE TRIGGER let_go_by_a_deed BEFORE DELETE ON davy.evidence FOR EACH ROW EXECUTE FUNCTION davy.let_go_by_a_deed();
CREATE TRIGGER never_changed BEFORE DELETE OR UPDATE OR TRUNCATE ON davy.checkpoint FOR EACH STATEMENT EXECUTE FUNCTION davy.only_ever_appended();
CREATE TRIGGER never_changed BEFORE DELETE OR UPDATE OR TRUNCATE ON davy.deed FOR EACH STATEMENT EXECUTE FUNCTION davy.only_ever_appended();
CREATE TRIGGER never_changed BEFORE UPDATE OR TRUNCATE ON davy.event FOR EACH STATEMENT EXECUTE FUNCTION davy.only_ever_appended();
CREATE TRIGGER never_changed BEFORE UPDATE ON davy.evidence FOR EACH STATEMENT EXECUTE FUNCTION davy.only_ever_appended();
CREATE TRIGGER never_changed BEFORE DELETE OR UPDATE OR TRUNCATE ON davy.pack FOR EACH STATEMENT EXECUTE FUNCTION davy.only_ever_appended();
CREATE TRIGGER never_changed BEFORE DELETE OR UPDATE OR TRUNCATE ON davy.run FOR EACH STATEMENT EXECUTE FUNCTION davy.only_ever_appended();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON davy.evidence FOR EACH STATEMENT EXECUTE FUNCTION davy.only_ever_appended();
CREATE TRIGGER only_packed BEFORE DELETE ON davy.event FOR EACH ROW EXECUTE FUNCTION davy.only_packed();
ALTER TABLE ONLY davy.event
    ADD CONSTRAINT event_stream_fkey FOREIGN KEY (stream) REFERENCES davy.stream(id);
ALTER TABLE ONLY davy.evidence
    ADD CONSTRAINT evidence_rollout_fkey FOREIGN KEY (rollout) REFERENCES davy.observed(id);
ALTER TABLE ONLY davy.observed
    ADD CONSTRAINT observed_deed_fkey FOREIGN KEY (deed) REFERENCES davy.deed(number);
ALTER TABLE ONLY davy.pack
    ADD CONSTRAINT pack_stream_fkey FOREIGN KEY (stream) REFERENCES davy.stream(id);
ALTER TABLE ONLY davy.run
    ADD CONSTRAINT run_stream_fkey FOREIGN KEY (stream) REFERENCES davy.stream(id);
