//! The JSON Schema, from types whose comments are the keys' reference. The reader is held against it by tests: each key,
//! each default, and the examples.

#![expect(dead_code, reason = "the types describe the file; the reader reads it with places")]

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// One service: what runs, and how a new version of it is rolled out.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "File", extend("anyOf" = [{ "required": ["command"] }, { "required": ["image"] }]))]
struct Davy {
    /// The service's name: 1 to 63 of a-z, 0-9 and -, beginning with a letter, not ending with -.
    #[schemars(extend("pattern" = NAME))]
    service: String,
    /// The image that a container runs, as for `docker run`. A tag is resolved to its digest when it is deployed. With it, `command` replaces the image's own.
    #[schemars(length(min = 1))]
    image: Option<String>,
    /// The program and its arguments, split into words at spaces; quotes keep words together. There is no shell: only $PORT and the keys of `env` are replaced. A path begins at the file's folder; a name without / is also looked for in PATH.
    #[schemars(length(min = 1))]
    command: Option<String>,
    /// Files and folders that belong to a release besides those that the command names. Paths are relative to the file's folder and stay inside it.
    #[schemars(extend("default" = []))]
    files: Option<Vec<String>>,
    /// Where a container listens; without it, the only port that the image exposes. On `local` it changes nothing: each instance is given a free port of its own as $PORT.
    #[schemars(range(min = 1, max = 65535))]
    port: Option<u16>,
    /// How many instances, 1 to 100.
    #[schemars(range(min = 1, max = 100), extend("default" = 1))]
    replicas: Option<u32>,
    /// Who a container's process runs as: a name or number, with `:group` if need be. Without it, as the image says.
    user: Option<String>,
    /// What a container keeps or is given: NAME:/PATH for a volume that outlives it, /HOST/PATH:/PATH for a folder of the host; `:ro` after it if it is only read. Old and new version share them while both run.
    volumes: Option<Vec<String>>,
    /// What asks a container to end, such as SIGQUIT. Without it, as the image says, else SIGTERM.
    stop_signal: Option<String>,
    /// What a container may use.
    resources: Option<Resources>,
    /// When an instance counts as able to serve.
    health: Option<Health>,
    /// Which requests are the service's.
    route: Option<Route>,
    /// The environment of the process: texts, numbers and truths, taken as written. $PORT in a value is replaced. `PORT: $PORT` says that the program reads its port by itself.
    #[schemars(extend("default" = {}))]
    env: Option<BTreeMap<String, Scalar>>,
    /// The names of secrets that an instance is given, each as a variable; `{ name: TLS_KEY, file: true }` gives it as a file whose path is in TLS_KEY_FILE. `davy secret set` sets their values.
    #[schemars(extend("default" = []))]
    secrets: Option<Vec<SecretEntry>>,
    /// Where it can be deployed, by name. Without it there is `production`, on `docker` for an image, else on `local`.
    #[schemars(extend("minProperties" = 1))]
    environments: Option<BTreeMap<String, Environment>>,
    /// How a new version gets all traffic, or none.
    rollout: Option<Rollout>,
    /// Who is told of its rollouts. What is to be told is in the journal; it is sent from there, and again until it arrives or a day has passed.
    #[schemars(extend("default" = []))]
    notify: Option<Vec<Channel>>,
}

const NAME: &str = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$";
const VARIABLE: &str = "^[A-Za-z_][A-Za-z0-9_]{0,127}$";
const NAMED: &str = r"^\$?\{?[A-Za-z_][A-Za-z0-9_]{0,127}\}?$";
const DURATION: &str = r"^(\d+(\.\d+)?d)?(\d+(\.\d+)?h)?(\d+(\.\d+)?m)?(\d+(\.\d+)?s)?(\d+(\.\d+)?ms)?$";
const MEMORY: &str = r"^\d+(\.\d+)?(KiB|MiB|GiB|KB|MB|GB)$";
const PERCENTAGE: &str = r"^\d+(\.\d+)?%$";

/// A length of time with its unit: 250ms, 1.5s, 60s, 1m30s, 15m, 24h or 7d. At most 365d.
#[derive(JsonSchema)]
#[schemars(extend("pattern" = DURATION, "minLength" = 2))]
struct Duration(String);

/// A percentage with its sign: 1%, 0.5%.
#[derive(JsonSchema)]
#[schemars(extend("pattern" = PERCENTAGE))]
struct Percentage(String);

/// A text, a number or a truth, taken as written.
#[derive(JsonSchema)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Number(f64),
    Truth(bool),
}

/// A secret's name, or its name and how it is given.
#[derive(JsonSchema)]
#[serde(untagged)]
enum SecretEntry {
    Name(#[schemars(extend("pattern" = VARIABLE))] String),
    Given(Secret),
}

/// A secret, and how an instance is given it.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Secret {
    /// Its name, which is a variable's.
    #[schemars(extend("pattern" = VARIABLE))]
    name: String,
    /// Whether it is given as a file that only the instance reads; the variable NAME_FILE says where.
    #[schemars(extend("default" = false))]
    file: Option<bool>,
}

/// One receiver, and what it is told.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("anyOf" = [{ "required": ["slack"] }, { "required": ["webhook"] }]))]
struct Channel {
    /// The name of the secret that is the address of Slack's incoming webhook, such as $SLACK_WEBHOOK.
    #[schemars(extend("pattern" = NAMED))]
    slack: Option<String>,
    /// Where JSON is sent: https://HOST/PATH, http:// only on this machine; or the name of a secret that is the address, such as $HOOK.
    #[schemars(length(min = 1))]
    webhook: Option<String>,
    /// The name of the secret that signs what a webhook is sent, by HMAC-SHA-256.
    #[schemars(extend("pattern" = NAMED))]
    secret: Option<String>,
    /// What it is told: `started`, `waiting` (for a person), `promoted`, `rolled-back`, `aborted`, `superseded`, `removed`.
    #[schemars(length(min = 1), extend("default" = ["waiting", "promoted", "rolled-back", "aborted"]))]
    on: Option<Vec<Occasion>>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Occasion {
    Started,
    Waiting,
    Promoted,
    RolledBack,
    Aborted,
    Superseded,
    Removed,
}

/// What a container may use.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Resources {
    /// Processors, or thousandths of one: 2, 0.5, 500m. Without it there is no limit.
    cpu: Option<Scalar>,
    /// Memory with its unit: 256MiB, 1GiB. Without it there is no limit.
    #[schemars(extend("pattern" = MEMORY))]
    memory: Option<String>,
}

/// When an instance counts as able to serve.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Health {
    /// Asked for with GET; 200 to 399 is healthy. Without it, the image's HEALTHCHECK is heeded, else an open port is enough.
    #[schemars(extend("pattern" = "^/"))]
    path: Option<String>,
    /// How long a new instance may take to become healthy; at least 1s.
    #[schemars(extend("default" = "60s"))]
    grace: Option<Duration>,
    /// The time between two checks; at least 100ms.
    #[schemars(extend("default" = "2s"))]
    interval: Option<Duration>,
}

/// Which requests are the service's.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Route {
    /// A host name, without scheme and port. Without it, every host.
    host: Option<String>,
    /// The beginning of a path, in whole segments.
    #[schemars(extend("pattern" = "^/", "default" = "/"))]
    path: Option<String>,
}

/// Where it can be deployed.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Environment {
    /// What runs the instances: `local`, processes on the machine of the server; `docker`, containers of its Docker engine. Without it, `docker` for an image, else `local`.
    platform: Option<Platform>,
    /// The Docker engine that runs the containers: ssh://[USER@]HOST[:PORT], tcp://HOST[:PORT] with TLS, or unix:///PATH. Without it, the server's own.
    #[schemars(extend("pattern" = "^(ssh|tcp|unix)://"))]
    engine: Option<String>,
    /// Where the metrics of `rollout.analysis` are read.
    metrics: Option<MetricSource>,
}

/// Where metrics are read.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct MetricSource {
    /// The address of a Prometheus server: http://HOST:PORT or https://HOST, perhaps with a path.
    #[schemars(extend("pattern" = "^https?://"))]
    prometheus: String,
    /// The name of the secret that is its bearer token: sent over HTTPS, or to this machine.
    #[schemars(extend("pattern" = VARIABLE))]
    token: Option<String>,
    /// The time between two readings, 1s to 5m; the server's scrape interval is enough.
    #[schemars(extend("default" = "5s"))]
    interval: Option<Duration>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Platform {
    Local,
    Docker,
}

/// How a new version gets all traffic, or none.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Rollout {
    /// The trial, step by step. Without a strategy, this one.
    canary: Option<AnyCanary>,
    /// The new version whole beside the old one, switched at once and judged against stable's past. Takes twice the instances.
    blue_green: Option<BlueGreen>,
    /// Instance by instance, traffic by their number. Each wave is observed, none is proven.
    rolling: Option<Rolling>,
    /// The old instances end before the new ones begin, for what cannot run twice. Requests fail in between, and after a rollback until the old ones have started again.
    recreate: Option<Recreate>,
    /// What the judge may spend and must heed.
    analysis: Option<Analysis>,
    /// The longest wait for the requests in flight on a release that is about to be removed.
    #[schemars(extend("default" = "30s"))]
    drain: Option<Duration>,
    /// How long the old release is kept after promotion, for an instant way back.
    #[schemars(extend("default" = "15m"))]
    bake: Option<Duration>,
    /// What happens when harm is found: `rollback`, traffic goes back.
    #[schemars(extend("default" = "rollback"))]
    on_failure: Option<OnFailure>,
    /// What happens when a step is not proven at its deadline: `pause` waits for a person, `rollback` puts traffic back.
    #[schemars(extend("default" = "pause"))]
    on_deadline: Option<OnDeadline>,
    /// The longest pause; then the rollout is rolled back. At least 1s.
    #[schemars(extend("default" = "24h"))]
    pause_limit: Option<Duration>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum OnFailure {
    Rollback,
}

#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum OnDeadline {
    Pause,
    Rollback,
}

/// The trial, step by step.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Canary {
    /// The canary's shares of traffic: rising, at least one below 100%, the last 100%, which is the promotion. At most two decimals. A step with more to say is a mapping.
    /// With `auto` the judge chooses them.
    #[schemars(extend("default" = ["1%", "5%", "25%", "50%", "100%"]))]
    steps: Option<Steps>,
    /// With `steps: auto`: the share that stays with the old version until the last step; at most 50%.
    #[schemars(extend("default" = "10%"))]
    holdback: Option<Percentage>,
    /// Instances for steps that do not say: `all` from the first step on, or as many as each `weight` needs.
    #[schemars(extend("default" = "all"))]
    scale: Option<CanaryScale>,
    /// Whether a client stays with the version that it was given, by a signed cookie, until its share has all. A client's failures then count once, which finds harm more slowly.
    #[schemars(extend("default" = false))]
    sticky: Option<bool>,
    /// The least time at each weight; at least 100ms. Not far below the slowest request.
    #[schemars(extend("default" = "60s"))]
    hold: Option<Duration>,
    /// The most time at each weight; longer than `hold`.
    #[schemars(extend("default" = "30m"))]
    deadline: Option<Duration>,
}

#[derive(JsonSchema)]
#[serde(untagged)]
enum AnyCanary {
    Auto(Auto),
    Canary(Box<Canary>),
}

#[derive(JsonSchema)]
#[serde(untagged)]
enum Steps {
    Auto(Auto),
    List(Weights),
}

#[derive(JsonSchema)]
struct Weights(#[schemars(length(min = 2))] Vec<AnyStep>);

#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Auto {
    Auto,
}

#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum CanaryScale {
    All,
    Weight,
}

/// A weight, or a mapping that says more.
#[derive(JsonSchema)]
#[serde(untagged)]
enum AnyStep {
    Weight(Percentage),
    Step(Step),
}

/// One step of a canary.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Step {
    /// The canary's share of traffic; 0% for a step that only matches or mirrors, which passes after its hold.
    weight: Percentage,
    /// How many of the new version's instances are healthy before the weight comes: a number, or a share of `replicas`, rounded up.
    scale: Option<Scalar>,
    /// Requests that go to the new version whatever the weight. They are left out of the evidence.
    r#match: Option<Match>,
    /// Copies of stable's requests for the new version, whose responses are dropped: a share, or a mapping. They are left out of the evidence.
    mirror: Option<AnyMirror>,
}

/// Requests that go to the new version whatever the weight: those that fit one of these.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Match {
    /// Names and values of headers; an empty value fits every one.
    header: Option<BTreeMap<String, Scalar>>,
    /// Names and values of cookies; an empty value fits every one.
    cookie: Option<BTreeMap<String, Scalar>>,
    /// A host besides the service's own.
    host: Option<String>,
}

/// A share, or a mapping that says more.
#[derive(JsonSchema)]
#[serde(untagged)]
enum AnyMirror {
    Share(Percentage),
    Mirror(Mirror),
}

/// Copies of stable's requests.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Mirror {
    /// The share of stable's requests that is copied.
    #[schemars(extend("default" = "100%"))]
    share: Option<Percentage>,
    /// Whether requests that may change something are copied, too: all but GET, HEAD, OPTIONS and TRACE. Orders would be placed twice.
    #[schemars(extend("default" = false))]
    r#unsafe: Option<bool>,
}

/// The new version whole beside the old one.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct BlueGreen {
    /// The least time before the switch: stable's past is measured, and people may look at the new version.
    #[schemars(extend("default" = "60s"))]
    preview: Option<Duration>,
    /// A host under which the gateway serves the new version before the switch. Without it, its instances' own addresses are shown.
    host: Option<String>,
    /// The least time after the switch before promotion; at least 100ms.
    #[schemars(extend("default" = "60s"))]
    hold: Option<Duration>,
    /// The most time before the switch, and after it; longer than `hold` and `preview`.
    #[schemars(extend("default" = "30m"))]
    deadline: Option<Duration>,
}

/// Instance by instance.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Rolling {
    /// How many of the old version's instances' number are healthy at any time, of both versions; 0% to 100%.
    #[schemars(extend("default" = "100%"))]
    min_healthy: Option<Percentage>,
    /// How many instances of both versions may run at any time, of `replicas`; 100% to 1000%. Below 200% old instances leave before the end, and a rollback has to start them again.
    #[schemars(extend("default" = "200%"))]
    max: Option<Percentage>,
    /// The least time with each wave of instances; at least 100ms.
    #[schemars(extend("default" = "10s"))]
    hold: Option<Duration>,
    /// The most time with each wave; longer than `hold`.
    #[schemars(extend("default" = "30m"))]
    deadline: Option<Duration>,
}

/// The old instances end before the new ones begin.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Recreate {
    /// The least time before the interruption, in which stable's past is measured, and after it; at least 100ms.
    #[schemars(extend("default" = "60s"))]
    hold: Option<Duration>,
    /// The most time before the interruption, and after it; longer than `hold`.
    #[schemars(extend("default" = "30m"))]
    deadline: Option<Duration>,
}

/// What the judge may spend and must heed.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Analysis {
    /// The chance of rolling back a healthy version, at most, over the whole rollout. Above 0, at most 0.5.
    #[schemars(extend("minimum" = 1e-9, "maximum" = 0.5, "default" = 0.01))]
    alpha: Option<f64>,
    /// The chance of passing a step with a new version that is worse than stable by the margin. Above 0, at most 0.5.
    #[schemars(extend("minimum" = 1e-9, "maximum" = 0.5, "default" = 0.05))]
    beta: Option<f64>,
    /// What a step has to prove: that the new version fails less than this more than stable, as a share of requests. Without it, by weight: 5% at 1%, 1% at 10%, 0.2% at 50%. Wider passes with less traffic.
    margin: Option<Percentage>,
    /// The share of requests that is promised to succeed. A failure rate above 14.4 times what it allows is a limit, as `error-rate.max` is; the lower one counts.
    slo: Option<Percentage>,
    /// How many failures in excess of stable's a rollout may cost, once they cannot be chance; `{ hard: 50 }` counts every failure; `off`.
    #[schemars(extend("default" = 50))]
    harm_budget: Option<HarmBudget>,
    /// Limits on failures: answers of 500 to 599, timeouts, refused and broken connections.
    error_rate: Option<ErrorRate>,
    /// Limits on how long requests take; without it latency is not looked at. `latency: {}` compares it with stable's.
    latency: Option<Latency>,
    /// Counters of your own, at most 8, each compared with stable's. They roll back; a step is proven by failures of requests.
    #[schemars(length(max = 8))]
    metrics: Option<Vec<Metric>>,
    /// How many requests one cause fails together, such as a page that asks for three things: 1 to 1000. All evidence counts for so much less.
    #[schemars(range(min = 1, max = 1000), extend("default" = 1))]
    burst: Option<u32>,
}

/// Failures in excess of stable's, every failure, or none.
#[derive(JsonSchema)]
#[serde(untagged)]
enum HarmBudget {
    Excess(#[schemars(range(min = 1))] u64),
    Off(#[schemars(extend("const" = "off"))] String),
    Hard(HardBudget),
}

/// Every failure counts, those that stable has, too.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct HardBudget {
    /// So many failures of the new version roll it back, whatever stable does. Not covered by `alpha`.
    #[schemars(range(min = 1))]
    hard: u64,
}

/// Limits on how long requests take. One percentile at most.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Latency {
    /// Half of the requests may take longer than this, and no more.
    p50: Option<Duration>,
    /// 10 % of the requests may take longer than this, and no more.
    p90: Option<Duration>,
    /// 5 % of the requests may take longer than this, and no more.
    p95: Option<Duration>,
    /// 1 % of the requests may take longer than this, and no more.
    p99: Option<Duration>,
    /// 0.1 % of the requests may take longer than this, and no more.
    #[serde(rename = "p99.9")]
    p99_9: Option<Duration>,
    /// How many times stable's latency the new version's may be, over the whole distribution: 1x to 1000x; `off`. 1.1x where `latency` does not say. 5 ms more are always allowed.
    not_slower_than: Option<Times>,
}

/// How many times as much: 1.1x; or `off`.
#[derive(JsonSchema)]
#[schemars(extend("pattern" = r"^(\d+(\.\d+)?x|off)$"))]
struct Times(String);

/// A counter of failures and one of what they are failures of.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Metric {
    /// Its name: 1 to 63 of a-z, 0-9 and -.
    #[schemars(extend("pattern" = "^[a-z0-9-]{1,63}$"))]
    name: String,
    /// The failures: one counter's name with matchers of its labels, `$release` among them. Several series are added up.
    #[schemars(extend("pattern" = r"\$release"))]
    prometheus: String,
    /// What they are failures of, in the same form.
    #[schemars(extend("pattern" = r"\$release"))]
    of: String,
}

/// Limits on failures.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ErrorRate {
    /// The share of failures that the new version may not exceed, whatever stable does. Above 0%, below 100%. Without it there is no such limit.
    max: Option<Percentage>,
    /// Whether the new version may not fail more than stable.
    #[schemars(extend("default" = true))]
    not_worse_than_stable: Option<bool>,
}

/// The JSON Schema (draft 2020-12) of `davy.yaml`.
#[must_use]
pub fn schema() -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Davy>();
    schema.insert("title".to_owned(), "davy.yaml".into());
    let mut schema = schema.to_value();
    let mappings = mappings(&schema);
    without_null(&mut schema, &mappings);
    schema
}

/// References to the definitions that are mappings: these may be left empty, their keys commented out.
fn mappings(schema: &Value) -> Vec<String> {
    let definitions = schema["$defs"].as_object().into_iter().flatten();
    let objects = definitions.filter(|(_, definition)| definition["type"] == "object");
    objects.map(|(name, _)| format!("#/$defs/{name}")).collect()
}

/// An absent key is not an empty one: takes `null` away from optional values.
fn without_null(value: &mut Value, mappings: &[String]) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(|item| without_null(item, mappings)),
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(reference) = optional(object).filter(|reference| !mappings.contains(reference)) {
                object.remove("anyOf");
                object.insert("$ref".to_owned(), reference.into());
            }
            object.values_mut().for_each(|inner| without_null(inner, mappings));
        }
        _ => {}
    }
}

/// The reference in "this, or null".
fn optional(object: &Map<String, Value>) -> Option<String> {
    match object.get("anyOf")?.as_array()?.as_slice() {
        [this, null] if null["type"] == "null" => this["$ref"].as_str().map(str::to_owned),
        _ => None,
    }
}
