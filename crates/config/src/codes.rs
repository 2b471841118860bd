//! Every error code of the file, with what it means.

use serde::Serialize;

/// A stable code, such as `E014`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Code(pub(crate) &'static str);

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// What a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The code.
    pub code: &'static str,
    /// In a few words.
    pub title: &'static str,
    /// In a few sentences, with an example.
    pub text: &'static str,
}

macro_rules! codes {
    ($($name:ident $code:literal $title:literal $text:literal)*) => {
        $(pub(crate) const $name: Code = Code($code);)*
        const ALL: &[Explanation] = &[$(Explanation { code: $code, title: $title, text: $text }),*];
    };
}

codes! {
    TOO_LARGE "E001" "the file is too large"
        "A davy.yaml is at most 1 MiB: it is written by people. Data belongs in files of its own, named in `files`."
    NOT_TEXT "E002" "the file is not UTF-8 text"
        "The file holds bytes that are no UTF-8, or a NUL. Editors call it another encoding, such as Latin-1 or UTF-16: save it as UTF-8. A NUL cannot be written as `\\0` either: no program can be given one."
    SYNTAX "E003" "the file is not YAML"
        "The file cannot be read as YAML 1.2. Look at the indentation, quotes and brackets at the line shown and just before it.\n\n  wrong:  steps: [1%, 5%\n  right:  steps: [1%, 5%]\n\n  wrong:  service:logo\n  right:  service: logo"
    TAB "E004" "a tab is used for indentation"
        "YAML is indented with spaces only. Replace each tab by two spaces; most editors can be told to."
    TOO_DEEP "E005" "the file is nested too deeply"
        "64 levels are read, and nothing in a davy.yaml needs more than five. Look for brackets or dashes that are too many."
    TOO_MANY "E006" "the file has too many values once its aliases are followed"
        "Anchors and aliases may be used, but what they stand for is counted each time: 20,000 values and 4 MiB of text are read."
    DUPLICATE "E007" "a key is given twice"
        "The same key stands twice in one mapping, so that one of the two values would be lost. Remove one.\n\n  wrong:  hold: 60s\n          hold: 30s\n  right:  hold: 60s"
    DOCUMENTS "E008" "the file has several documents"
        "One file describes one service: there may be no second `---`. Write another service into a file of its own, and name it with --file."
    EMPTY "E009" "the file is empty"
        "There is nothing in it but comments. At least `service` and `command` are needed; `davy init` writes a file to start from."
    TYPE "E010" "a value of another kind is needed"
        "Such as one value where a list stands, a number in quotes, or nothing at all.\n\n  wrong:  steps: 5%\n  right:  steps: [5%, 100%]\n\n  wrong:  replicas: \"3\"\n  right:  replicas: 3\n\n  wrong:  not-worse-than-stable: yes\n  right:  not-worse-than-stable: true"
    UNKNOWN "E011" "there is no such key"
        "The key is not known at this place; keys are never ignored. The hint names the nearest one, or where it belongs, and all that are.\n\n  wrong:  rollout: { hold: 60s }\n  right:  rollout: { canary: { hold: 60s } }"
    NOT_ENFORCED "E012" "it is known, but this version does not enforce it"
        "The key or value has its meaning in Davy, but not in this version. A limit that is read and not enforced would be false safety, so the file is refused. Remove it, or use a version that enforces it.\n\n  wrong:  pipeline: { test: npm test }"
    MISSING "E013" "something is missing"
        "`service` is always needed, and one of `command` and `image`; `environments` names at least one if it is there.\n\n  right:  service: logo\n          command: ./logo --port $PORT"
    UNIT "E014" "a value lacks its unit, or has it in another form"
        "Every duration and percentage is written with its unit, without a space, so that nobody has to guess.\n\n  wrong:  hold: 60\n  right:  hold: 60s      (ms, s, m, h, d; also 1m30s)\n\n  wrong:  steps: [1, 100]\n  right:  steps: [1%, 100%]"
    RANGE "E015" "a value is out of its range"
        "The value makes no sense here; the hint says which values do.\n\n  wrong:  replicas: 0\n  right:  replicas: 1\n\n  wrong:  alpha: 1\n  right:  alpha: 0.01"
    STEPS "E016" "the weights do not rise to 100%"
        "A canary's steps rise, begin below 100% and end with 100%, which is the promotion.\n\n  wrong:  steps: [5%, 1%]\n  right:  steps: [1%, 5%, 100%]"
    PORT "E017" "the command is not told its port"
        "On `local` every instance gets a free port of its own, because old and new run side by side. Write it as $PORT into the command or into a value of `env`. A program that reads the variable PORT by itself needs neither: say so with `PORT: $PORT`.\n\n  wrong:  command: ./logo --port 8080\n  right:  command: ./logo --port $PORT\n\n  wrong:  command: node server.js\n  right:  command: node server.js\n          env: { PORT: $PORT }"
    VARIABLE "E018" "an unknown variable"
        "A command is not run by a shell: only $PORT and the keys of `env` are replaced, and in values of `env` only $PORT. Variables of your own shell are not seen, so that a release is the same wherever it is deployed from.\n\n  wrong:  command: ./logo --port $PORT --home $HOME\n  right:  command: ./logo --port $PORT --home $DATA\n          env: { DATA: /srv/logo }"
    NAME "E019" "not a name"
        "Services and environments have names as in host names: 1 to 63 of a-z, 0-9 and -, beginning with a letter, not ending with -. Variables in `env` have letters, digits and _, and do not begin with a digit.\n\n  wrong:  service: Shop_API\n  right:  service: shop-api"
    WORDS "E020" "the command cannot be split into words"
        "Words are split at spaces; quotes keep them together and must be closed. There is no shell: no pipes, no redirections, no second command. What needs one goes into a script; an argument that looks like an operator stands in quotes.\n\n  wrong:  command: ./logo --port $PORT | tee log\n  right:  command: ./logo --port $PORT      (its output is kept: `davy logs`)"
    ROUTE "E021" "not a host or path"
        "`host` is a host name without scheme and port; a path begins with `/` and is written as in a request.\n\n  wrong:  route: { host: https://logo.example.com, path: shop }\n  right:  route: { host: logo.example.com, path: /shop }"
    ENVIRONMENT "E022" "no such environment, or none named"
        "The file has other environments than the one asked for, or several and none was named.\n\n  right:  davy deploy --env production"
    SERVICE "E023" "no such service"
        "The service asked for is not the one that the file is about. Name its file with --file, or leave the service out."
    TAG "E024" "a tag is not read"
        "YAML's tags, such as `!!str`, would change what a value is. None are read. A text that looks like something else stands in quotes.\n\n  wrong:  COLOR: !!str 5\n  right:  COLOR: \"5\""
    ALIAS "E025" "an alias stands for nothing"
        "An alias, `*name`, repeats a value that was marked with an anchor, `&name`, and was complete before it.\n\n  wrong:  hold: *time\n  right:  drain: &time 60s\n          bake: *time\n\nA text that begins with * stands in quotes."
    DEADLINE "E026" "a step's deadline comes before the end of its hold"
        "A step lasts at least `hold` and at most `deadline`; where one is not given, it is 60s or 30m. A step whose deadline is not after its hold could never be proven.\n\n  wrong:  { hold: 10m, deadline: 5m }\n  right:  { hold: 1m, deadline: 5m }"
    FILES "E027" "a file is outside the folder of davy.yaml"
        "A release is a copy of files in the folder of davy.yaml; their paths are relative to it.\n\n  wrong:  files: [/etc/logo.toml, ../static]\n  right:  files: [logo.toml, static]"
    CONTAINER "E028" "not an image, user, signal or volume"
        "`image` is a name as for `docker run`, with a tag or a digest; `user` a name or number; `stop-signal` a name such as SIGTERM; a volume is NAME:/PATH or /HOST/PATH:/PATH, with :ro if it is only read.\n\n  wrong:  volumes: [\"cache\"]\n  right:  volumes: [\"logo-cache:/cache\"]"
    PLACE "E029" "the platform cannot run this"
        "A `command` runs as a process on `local`, an `image` as a container on `docker`. Without a platform the right one is taken.\n\n  wrong:  image: logo:2.0\n          environments: { production: { platform: local } }\n  right:  image: logo:2.0\n          environments: { production: { platform: docker } }"
    ENGINE "E030" "not an engine that can be used"
        "`engine` is the address of a Docker engine that runs this environment's containers: ssh://[USER@]HOST[:PORT], tcp://HOST[:PORT] with TLS, or unix:///PATH. Keys, passwords and certificates are never in it: they are those of the user that runs `davy up`. Without it, the server's own engine is used.\n\n  wrong:  environments: { production: { engine: shop-1.internal } }\n  right:  environments: { production: { engine: ssh://deploy@shop-1.internal } }"
    STRATEGY "E040" "more than one strategy"
        "A rollout has one of `canary`, `blue-green`, `rolling` and `recreate`; with none of them it is a canary.\n\n  wrong:  rollout: { canary: {}, rolling: {} }\n  right:  rollout: { rolling: { min-healthy: 100%, max: 200% } }"
    SCALE "E041" "instances for a step that cannot be"
        "`scale` says how many of the new version's instances are healthy before the step's weight comes: a number, or a share of `replicas`, rounded up. It never falls, is at most `replicas`, and the last step has all of them. For the whole canary, `scale: weight` takes as many as each weight needs.\n\n  wrong:  steps: [{ weight: 5%, scale: 3 }, { weight: 50%, scale: 1 }, 100%]\n  right:  steps: [{ weight: 5%, scale: 1 }, { weight: 50%, scale: 3 }, 100%]"
    MATCH "E042" "not a header, cookie or host to match"
        "A `match` sends requests to the new version whatever its weight: those with a header, a cookie or for a host. A request that fits one of them is matched; an empty value fits every value. Matched requests are left out of the evidence.\n\n  wrong:  match: { header: X-Canary }\n  right:  match: { header: { X-Canary: always }, cookie: { beta: \"\" }, host: canary.logo.example.com }"
    METRIC "E050" "not a metric that can be compared"
        "A metric is a counter of failures and a counter of what they are failures of, each a selector in which `$release` tells the versions apart; an instance finds its release in the variable DAVY_RELEASE. `$service` and `$environment` may stand there, too. Davy takes the differences itself, so no `rate()` and no sum. At most 8 metrics, each with a name of its own of a-z, 0-9 and -. They are compared while both versions serve.\n\n  wrong:  prometheus: rate(failures_total[1m])\n  right:  prometheus: 'failures_total{release=\"$release\"}'\n          of: 'requests_total{release=\"$release\"}'"
    SOURCE "E051" "the metrics' server is missing or cannot be asked"
        "Metrics are read from a Prometheus server, named for each environment: its address, and the name of a secret if it wants a bearer token. A token is sent over HTTPS, or to this machine.\n\n  right:  environments:\n            production:\n              metrics: { prometheus: \"http://127.0.0.1:9090\", interval: 5s }"
    MARGIN "E052" "a margin that no traffic can prove in time"
        "A step passes once the new version is proven to fail less than `margin` more than stable. Without any failure that takes ln(1/beta) / -ln(1 - margin) requests to the new version, `burst` times as many where failures come in bursts. At the step's weight and 100,000 requests a second there are not so many before the deadline.\n\n  wrong:  margin: 0.000001%\n  right:  margin: 0.1%"
    LATENCY "E053" "more than one limit of the latency"
        "One limit is counted exactly, request by request: keep the percentile that matters. The comparison with stable, `not-slower-than`, looks at the whole distribution.\n\n  wrong:  latency: { p50: 20ms, p99: 500ms }\n  right:  latency: { p99: 500ms, not-slower-than: 1.1x }"
    BUDGET "E054" "a hard budget, which rolls healthy versions back, too"
        "`harm-budget: 50` counts failures in excess of stable's and waits until they cannot be chance. `{ hard: 50 }` counts every failure of the new version, those that stable has, too: the busier the service, the likelier that a healthy version is rolled back. `davy config check` says how likely. It is allowed."
    NOTIFY "E060" "not a channel that can be told"
        "Each item of `notify` names one receiver, `slack` or `webhook`, and what it is told in `on`: started, waiting, promoted, rolled-back, aborted, superseded, removed. Without `on`: waiting, promoted, rolled-back and aborted.\n\n  wrong:  notify: { slack: $SLACK_WEBHOOK }\n  right:  notify:\n            - slack: $SLACK_WEBHOOK\n              on: [rolled-back, waiting]"
    ADDRESS "E061" "not an address that can be told, or a secret in the file"
        "Slack's address is a secret: whoever knows it may post. It is set with `davy secret set SLACK_WEBHOOK` and named here. A webhook's address may stand here if it begins with https:// (http:// only on this machine) and has no user, query or fragment; else it is a secret, too. The line is not shown, since a secret may stand in it.\n\n  wrong:  slack: https://hooks.slack.com/services/...\n  right:  slack: $SLACK_WEBHOOK\n\n  right:  webhook: https://deploys.example.com/davy\n          secret: $DAVY_SIGNING"
    SIGN_IN "E062" "not a way to sign in"
        "The file of `davy up --sign-in` names who vouches for people, and in `may` what those may do: the first rule that fits counts, and whom none fits does not get in. A client secret is in a file of its own, which only its owner reads.\n\n  providers:\n    - name: company\n      oidc: https://login.example.com/realms/staff\n      client: davy\n      secret-file: /etc/davy/company.secret\n      may:\n        - { role: admin, group: platform }\n        - { role: deployer, group: shop, environments: [staging] }\n        - { role: viewer, domain: example.com }\n    - name: github\n      github: https://github.com\n      client: Iv1.0123456789abcdef\n      secret-file: /etc/davy/github.secret\n      may:\n        - { role: approver, team: example/platform }\n        - { role: viewer, organisation: example }"
}

/// What a code means; none for an unknown one.
#[must_use]
pub fn explain(code: &str) -> Option<&'static Explanation> {
    ALL.iter().find(|known| known.code.eq_ignore_ascii_case(code))
}

/// Every code.
#[must_use]
pub fn explanations() -> &'static [Explanation] {
    ALL
}
