//! The set-up of a service over the API: what runs, the form, checks done live, the forecast, the review; nothing is changed
//! before it is applied.

use crate::{
    docker::sample_with,
    engine::Engine,
    host::{DAVY, Host, Load, text},
    tokens::{ask, create},
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
};

struct Api {
    url: String,
    token: String,
}

impl Api {
    fn of(ready: &Value) -> Self {
        let token = fs::read_to_string(ready["token_file"].as_str().expect("a path")).expect("a token");
        Self { url: ready["url"].as_str().expect("its address").to_owned(), token: token.trim().to_owned() }
    }

    /// The status and the body.
    fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, answer) = ask(&self.url, &self.token, method, path, &body);
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")))
    }

    fn well(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask(if body.is_null() { "GET" } else { "POST" }, path, body);
        assert_eq!(status, 200, "{path}: {answer:#}");
        answer
    }

    fn draft(&self, body: &Value) -> Value {
        self.well("/api/set-up/draft", body)
    }

    fn review(&self, body: &Value) -> Value {
        self.well("/api/set-up/review", body)
    }

    /// One check of a form.
    fn check(&self, which: &str, body: &Value) -> Value {
        let checked = self.well("/api/set-up/check", body);
        let all = checked["checks"].as_array().expect("checks");
        all.iter().find(|one| one["check"] == which).unwrap_or_else(|| panic!("no {which}: {checked:#}")).clone()
    }
}

/// The values of a draft's fields.
fn values(draft: &Value) -> Value {
    let fields = draft["fields"].as_array().expect("fields").iter();
    Value::Object(fields.map(|one| (one["key"].as_str().expect("a key").to_owned(), one["value"].clone())).collect())
}

fn origin<'a>(draft: &'a Value, key: &str) -> (&'a str, &'a str) {
    let field = draft["fields"].as_array().expect("fields").iter().find(|one| one["key"] == key).expect("a field");
    (field["value"].as_str().expect("text"), field["origin"].as_str().expect("text"))
}

fn with(form: &Value, changes: &[(&str, &str)]) -> Value {
    let mut form = form.clone();
    changes.iter().for_each(|(key, value)| form["values"][*key] = json!(value));
    form
}

/// Something that answers each connection as `answer` says, on a port of this machine.
fn answers(answer: impl Fn(&str) -> Option<String> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        while let Ok((mut socket, _)) = listener.accept() {
            let mut head = [0; 2048];
            let length = socket.read(&mut head).unwrap_or_default();
            let asked = String::from_utf8_lossy(&head[..length]).into_owned();
            match answer(asked.split(' ').nth(1).unwrap_or_default()) {
                Some(text) => socket.write_all(text.as_bytes()).unwrap_or_default(),
                // It never answers.
                None => held.push(socket),
            }
        }
    });
    address
}

/// Everything that the server has written down.
fn written(host: &Host) -> String {
    text(&host.davy(&["history", "--json"])) + &text(&host.davy(&["audit", "verify", "--json"]))
}

#[test]
fn a_process_is_set_up_and_nothing_is_changed_before_it_is_applied() {
    let mut host = Host::new();
    let api = Api::of(&host.start());
    let before = written(&host);
    let found = api.well("/api/set-up/found", &Value::Null);
    let local = found["sites"].as_array().expect("sites").iter().find(|site| site["platform"] == "local");
    assert!(local.is_some_and(|site| site["trouble"] != ""), "it says why it lists nothing: {found:#}");
    let draft = api.draft(&json!({ "from": "blank", "platform": "local" }));
    assert_eq!(origin(&draft, "steps"), ("", "default"));
    let mut form = json!({ "values": values(&draft) });
    let open = api.review(&form);
    let wrong: Vec<&str> =
        open["errors"].as_array().expect("errors").iter().filter_map(|one| one["key"].as_str()).collect();
    assert_eq!(wrong, ["service", "command", "folder"], "{open:#}");
    assert!(open["deploy"].is_null() && open["changes"] == json!([]), "{open:#}");
    assert_eq!(api.ask("POST", "/api/set-up/check", &form).0, 422);
    let folder = host.folder.path().to_str().expect("a plain path").to_owned();
    let command = format!("{DAVY} logo --port $PORT --version v1");
    form = with(
        &form,
        &[
            ("service", "logo"),
            ("command", &command),
            ("folder", &folder),
            ("health.path", "/healthz"),
            ("bake", "1s"),
            ("drain", "1s"),
        ],
    );
    let review = api.review(&form);
    assert_eq!((&review["errors"], &review["serves"]), (&json!([]), &json!(false)), "{review:#}");
    assert_eq!(review["command"], "davy deploy logo --env production --watch");
    assert_eq!(api.check("command", &form)["ok"], true);
    assert_eq!(api.check("health", &form)["ok"], Value::Null);
    assert_eq!(api.check("traffic", &form)["ok"], Value::Null);
    let absent = api.check("command", &with(&form, &[("command", "./absent --port $PORT")]));
    assert!(absent["ok"] == false && absent["detail"].to_string().contains("absent"), "{absent:#}");
    let secret = api.check("secrets", &with(&form, &[("secrets", "DB_PASSWORD")]));
    assert!(secret["ok"] == false && secret["hint"].to_string().contains("davy secret set DB_PASSWORD"), "{secret:#}");
    assert_eq!(written(&host), before, "nothing was changed");
    // The file is what the command line takes, too.
    fs::write(host.folder.path().join("davy.yaml"), review["file"].as_str().expect("text")).expect("a file");
    let same = host.davy(&["config", "check"]);
    assert!(same.status.success(), "{}", text(&same));
    let taken = api.well("/api/deploy", &review["deploy"]);
    assert!(taken["rollout"].is_string(), "{taken:#}");
    host.until("over", |status| status["state"] == "promoted");
    assert_eq!(host.get(), Some((200, "v1".to_owned())));
    // From now on it differs from what serves, and what serves is asked for its health.
    let again = api.review(&form);
    assert_eq!((&again["serves"], &again["changes"]), (&json!(true), &json!([])), "{again:#}");
    let changed = with(&form, &[("env", "COLOR=red\nAPI_TOKEN=s3cret"), ("replicas", "2"), ("bake", "5s")]);
    let changed = api.review(&changed);
    let told: Vec<String> = changed["changes"]
        .as_array()
        .expect("changes")
        .iter()
        .map(|one| format!("{} {} {}", one["key"], one["from"], one["to"]))
        .collect();
    let expected =
        ["\"env.API_TOKEN\" null", "\"env.COLOR\" null \"red\"", "\"replicas\" \"1\" \"2\"", "\"bake\" \"1s\" \"5s\""];
    assert!(told.len() == 4 && expected.iter().all(|part| told.iter().any(|one| one.contains(part))), "{told:#?}");
    assert!(!told.join(" ").contains("s3cret"), "{told:#?}");
    let health = api.check("health", &form);
    assert!(health["ok"] == true && health["detail"].to_string().contains("answered 200 OK"), "{health:#}");
    let lost = api.check("health", &with(&form, &[("health.path", "/no-such")]));
    assert!(lost["ok"] == false && lost["detail"].to_string().contains("404"), "{lost:#}");
    let other = api.check("route", &with(&form, &[("service", "other")]));
    assert!(other["ok"] == false && other["detail"].to_string().contains("logo"), "{other:#}");
    host.down();
}

#[test]
fn what_the_form_has_no_field_for_is_not_lost_unsaid() {
    let mut host = Host::new();
    let api = Api::of(&host.start());
    let file = "rollout:\n  canary: { steps: [10%, { weight: 50%, match: { host: next.example.com } }, 100%], sticky: true }\n  \
                pause-limit: 2h\n  bake: 1s\n  analysis: { slo: 99.9%, burst: 3 }\n\
                notify:\n  - webhook: http://127.0.0.1:9/davy\n    on: [removed]\n";
    host.write("v1", file);
    let first = host.davy(&["deploy", "--watch"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    let folder = host.folder.path().to_str().expect("a plain path");
    let command = format!("{DAVY} logo --port $PORT --version v1");
    let values = [
        ("platform", "local"),
        ("service", "logo"),
        ("folder", folder),
        ("command", &command),
        ("health.path", "/healthz"),
        ("health.grace", "5s"),
        ("health.interval", "500ms"),
        ("steps", "10%, 50%, 100%"),
        ("bake", "1s"),
    ];
    let review = api.review(&with(&json!({ "values": {} }), &values));
    let changes = review["changes"].as_array().expect("changes").iter();
    let told: Vec<_> =
        changes.map(|one| ["key", "from", "to"].map(|part| one[part].as_str().unwrap_or_default())).collect();
    let expected = [
        ["pause-limit", "2h", "24h"],
        ["analysis.slo", "99.9%", "none"],
        ["analysis.burst", "3", "1"],
        ["notify", "webhook http://127.0.0.1:9/davy on [\"removed\"]", "none"],
        ["canary.sticky", "true", "false"],
        ["canary.steps", "50 %: match [{\"host\":\"next.example.com\"}]", "none"],
    ];
    assert_eq!(told, expected, "{review:#}");
    let lost =
        "no field for `pause-limit`, `analysis.slo`, `analysis.burst`, `notify`, `canary.sticky`, `canary.steps`";
    assert!(review["notes"].to_string().contains(lost), "{review:#}");
    host.down();
}

#[test]
fn health_is_asked_of_this_machine_only_and_every_answer_is_told() {
    let mut host = Host::new();
    let api = Api::of(&host.start());
    let listening = answers(|path| match path {
        "/well" => Some("HTTP/1.1 204 No Content\r\n\r\n".to_owned()),
        "/moved" => {
            Some("HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/<b>\r\nContent-Length: 0\r\n\r\n".to_owned())
        }
        "/fails" => Some("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_owned()),
        "/noise" => Some("\u{1}\u{2}no http\r\n\r\n".to_owned()),
        _ => None,
    });
    let form = |path: &str, address: &str| {
        let values = json!({ "platform": "docker", "service": "web", "image": "127.0.0.1:9/web:1", "port": "8080", "health.path": path });
        json!({ "values": values, "address": address })
    };
    let health = |path: &str| {
        let checked = api.check("health", &form(path, &listening));
        (checked["ok"].clone(), format!("{} {}", checked["detail"], checked["hint"]))
    };
    assert_eq!(health("/well").0, true);
    let moved = health("/moved");
    assert!(
        moved.0.is_null() && moved.1.contains("elsewhere.example") && moved.1.contains("nobody follows"),
        "{moved:?}"
    );
    let fails = health("/fails");
    assert!(fails.0 == false && fails.1.contains("503"), "{fails:?}");
    assert_eq!(health("/noise").0, false);
    let hangs = health("/hangs");
    assert!(hangs.0 == false && hangs.1.contains("no answer within 3 s"), "{hangs:?}");
    let open = health("");
    assert!(open.0.is_null() && open.1.contains("takes connections"), "{open:?}");
    let named = listening.replace("127.0.0.1", "localhost");
    assert_eq!(api.check("health", &form("/well", &named))["ok"], true);
    let nobody = api.check("health", &form("/well", "127.0.0.1:9"));
    assert!(nobody["ok"] == false && nobody["hint"].to_string().contains("0.0.0.0"), "{nobody:#}");
    for address in [
        "10.0.0.1:80",
        "169.254.169.254:80",
        "example.com:80",
        "[2001:db8::1]:80",
        "127.0.0.1",
        "0.0.0.0:80",
        "http://127.0.0.1:80/",
    ] {
        let (status, refused) = api.ask("POST", "/api/set-up/check", &form("/well", address));
        assert!(status == 422 && refused["code"] == "A042", "{address}: {refused:#}");
    }
    // Without an engine the form goes on: what is away is told.
    host.down();
}

#[test]
fn bad_input_is_told_and_harms_nobody() {
    let mut host = Host::new();
    host.environment.push(("DOCKER_HOST".to_owned(), "unix:///nowhere/docker.sock".to_owned()));
    let api = Api::of(&host.start());
    let found = api.well("/api/set-up/found", &Value::Null);
    let docker = &found["sites"][0];
    assert!(docker["found"] == json!([]) && docker["trouble"].to_string().contains("/nowhere"), "{found:#}");
    assert!(docker["hint"] != "", "{found:#}");
    let refused = |path: &str, body: &Value, status: u16, code: &str| {
        let (told, problem) = api.ask("POST", path, body);
        assert!(told == status && problem["code"] == code, "{path}: {problem:#}");
        problem
    };
    let draft = "/api/set-up/draft";
    refused(draft, &json!({ "from": "found", "id": "../../etc/passwd" }), 404, "A041");
    refused(draft, &json!({ "from": "somewhere" }), 400, "A004");
    refused(draft, &json!({ "from": "blank", "platform": "moon" }), 400, "A004");
    let huge = format!("services:\n{}", "  a: { image: x }\n".repeat(100_000));
    let told = refused(draft, &json!({ "from": "compose", "text": huge }), 422, "A040");
    assert!(told["detail"].as_str().is_some_and(|detail| detail.starts_with("compose.yaml:")), "{told:#}");
    refused(draft, &json!({ "from": "compose", "text": "services: [" }), 422, "A040");
    refused(draft, &json!({ "from": "compose", "text": "a: &a [*a, *a]\nservices: {}" }), 422, "A040");
    refused(draft, &json!({ "from": "dockerfile", "text": "hello", "service": "web" }), 422, "A040");
    refused("/api/set-up/review", &json!({ "values": { "colour": "blue" } }), 400, "A004");
    refused("/api/set-up/review", &json!({ "values": { "port": 8080 } }), 400, "A004");
    refused("/api/set-up/review", &json!({ "values": {}, "colour": "blue" }), 400, "A004");
    refused(draft, &json!({ "from": "blank", "platform": "local", "colour": "blue" }), 400, "A004");
    let several = "services:\n  a: { build: ., ports: ['1:80'] }\n  <script>: { image: x, ports: ['2:80'] }\n  db: { image: 'postgres:17' }\n";
    let open = api.draft(&json!({ "from": "compose", "text": several }));
    assert!(open["fields"] == json!([]) && open["choices"].as_array().is_some_and(|all| all.len() == 3), "{open:#}");
    let chosen = api.draft(&json!({ "from": "compose", "text": several, "service": "<script>" }));
    assert_eq!(origin(&chosen, "service").0, "script");
    assert!(chosen["notes"].to_string().contains("`<script>` is called script"), "{chosen:#}");
    // An engine that is away is said by the check; the form is used on.
    let form = json!({ "values": { "platform": "docker", "service": "web", "image": "web:1" } });
    let engine = api.check("engine", &form);
    assert!(engine["ok"] == false && engine["hint"] != "", "{engine:#}");
    assert!(api.review(&form)["deploy"].is_object());
    for rate in [json!(0), json!(-1), json!(1e12)] {
        let form = json!({ "values": form["values"], "rate": rate });
        refused("/api/set-up/forecast", &form, 422, "A043");
    }
    // One that reaches only one environment is not told what runs on the machine.
    let narrow =
        Api { url: api.url.clone(), token: create(&host, &["narrow", "--role", "deployer", "--env", "staging"]) };
    assert_eq!(narrow.ask("GET", "/api/set-up/found", &Value::Null).0, 403);
    assert_eq!(narrow.ask("POST", draft, &json!({ "from": "found", "id": "x" })).0, 403);
    assert_eq!(narrow.ask("POST", "/api/set-up/review", &form).0, 403, "it is for production");
    let staging = with(&form, &[("environment", "staging")]);
    assert_eq!(narrow.ask("POST", "/api/set-up/review", &staging).0, 200);
    host.down();
}

#[test]
fn the_forecast_is_of_the_traffic_that_there_is() {
    let mut host = Host::new();
    let api = Api::of(&host.start());
    host.write("v1", "");
    let first = host.davy(&["deploy", "--watch"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    let folder = host.folder.path().to_str().expect("a plain path");
    let form = json!({ "values": {
        "platform": "local", "service": "logo", "command": format!("{DAVY} logo --port $PORT"), "folder": folder,
        "steps": "10%, 50%, 100%", "hold": "5s", "deadline": "20m",
    } });
    let assumed = api.well("/api/set-up/forecast", &json!({ "values": form["values"], "rate": 40 }));
    assert_eq!((&assumed["measured"], &assumed["rate"]), (&json!(false), &json!(40.0)));
    let versions = assumed["versions"].as_array().expect("versions");
    let fails: Vec<f64> = versions.iter().filter_map(|one| one["fails"].as_f64()).collect();
    assert_eq!(fails, [1.0, 0.05, 0.01, 0.001]);
    let worst = &versions[0];
    assert!(
        worst["rolled_back"] == worst["rollouts"] && worst["failed"][0].as_u64().is_some_and(|failed| failed < 10),
        "{assumed:#}"
    );
    let said = assumed["sentences"].to_string();
    for part in [
        "At 40 requests/s, a version that fails 5 % of its requests is taken back",
        "failed request",
        "as good as stable",
        "at most 1 %",
    ] {
        assert!(said.contains(part), "{part}: {assumed:#}");
    }
    assert!(!said.contains("The first version"), "{said}");
    let load = Load::start(&host.gateway);
    host.until("measured", |_| {
        let (status, seen) = api.ask("POST", "/api/set-up/forecast", &form);
        status == 200 && seen["measured"] == true && seen["rate"].as_f64() > Some(5.0)
    });
    load.stop();
    // A service that is not there yet: the first version is not judged.
    let other = api.well("/api/set-up/forecast", &with(&form, &[("service", "other")]));
    assert!(
        other["measured"] == false && other["sentences"][0].to_string().contains("The first version serves at once"),
        "{other:#}"
    );
    host.down();
}

#[test]
fn a_container_that_runs_is_set_up_with_few_words() {
    let engine = Engine::start();
    let check = "HEALTHCHECK --start-period=20s --interval=1s CMD curl -f http://localhost:8080/healthz || exit 1";
    let run = r#"CMD ["/davy","logo","--host","0.0.0.0","--port","8080","--version","v1"]"#;
    sample_with(&engine, "logo:1", &["EXPOSE 8080", check, run]);
    engine.said(&["network", "create", "n"]);
    engine.said(&[
        "run",
        "-d",
        "--name",
        "shop_logo",
        "--network",
        "n",
        "-e",
        "COLOR=blue",
        "-e",
        "DB_PASSWORD=hunter2",
        "logo:1",
    ]);
    let mut host = Host::new();
    host.environment.push(("DOCKER_HOST".to_owned(), engine.host()));
    let api = Api::of(&host.start());
    let before = written(&host);
    let found = api.well("/api/set-up/found", &Value::Null);
    let one = &found["sites"][0]["found"][0];
    assert_eq!((&one["name"], &one["image"], &one["ports"]), (&json!("shop_logo"), &json!("logo:1"), &json!([8080])));
    assert!(!found.to_string().contains("hunter2") && !found.to_string().contains("blue"), "{found:#}");
    let draft = api.draft(&json!({ "from": "found", "id": one["id"] }));
    assert!(!draft.to_string().contains("hunter2"), "{draft:#}");
    assert_eq!(origin(&draft, "service"), ("shop-logo", "the container `shop_logo`"));
    assert_eq!(origin(&draft, "port"), ("8080", "EXPOSE of the image `logo:1`"));
    assert_eq!(origin(&draft, "health.path"), ("/healthz", "HEALTHCHECK of the image `logo:1`"));
    assert_eq!(origin(&draft, "secrets").0, "DB_PASSWORD");
    // Its health is asked now, of the container itself.
    let form = with(
        &json!({ "values": values(&draft), "found": one["id"] }),
        &[("secrets", ""), ("drain", "1s"), ("bake", "1s"), ("stop-signal", "SIGKILL")],
    );
    let health = api.check("health", &form);
    assert!(health["ok"] == true && health["detail"].to_string().contains("the container `shop_logo`"), "{health:#}");
    let lost = api.check("health", &with(&form, &[("health.path", "/no-such")]));
    assert_eq!(lost["ok"], false, "{lost:#}");
    let shut = api.check("health", &with(&form, &[("port", "9")]));
    assert_eq!(shut["ok"], false, "{shut:#}");
    assert_eq!(api.check("image", &form)["ok"], true);
    assert_eq!(written(&host), before, "nothing was changed");
    assert_eq!(engine.containers(), ["shop_logo"]);
    let review = api.review(&form);
    api.well("/api/deploy", &review["deploy"]);
    host.until("over", |status| status["state"] == "promoted");
    assert_eq!(host.get(), Some((200, "v1".to_owned())));
    assert!(engine.containers().contains(&"shop_logo".to_owned()), "it goes on");
    let again = api.well("/api/set-up/found", &Value::Null);
    assert_eq!(
        again["sites"][0]["found"][0]["deployed"],
        json!(["production"]),
        "Davy's own is not among them: {again:#}"
    );
    assert!(again["sites"][0]["found"].as_array().is_some_and(|all| all.len() == 1), "{again:#}");
    // It goes away while its form is open.
    engine.said(&["rm", "-f", "shop_logo"]);
    let (status, gone) = api.ask("POST", "/api/set-up/check", &form);
    assert!(status == 404 && gone["code"] == "A041", "{gone:#}");
    host.down();
}
