//! The API as programs and the page use it: what it says of itself, how it refuses, pages, tags, keys, live events, the past.

use crate::host::{Host, Load, text};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

const SLOW: &str = "rollout:\n  canary: { steps: [50%, 100%], hold: 60s, deadline: 10m }\n  drain: 1s\n  bake: 60s\n";
const QUICK: &str = "rollout:\n  canary: { steps: [50%, 100%], hold: 2s, deadline: 60s }\n  drain: 1s\n  bake: 1s\n";

/// Where a server is, and a token for it.
struct Server {
    at: String,
    token: String,
}

/// What came back.
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The status and the code of a problem, which says that it is one.
    fn refused(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}: {}", self.status, self.text());
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
        (self.status, problem["code"].as_str().unwrap_or_default().to_owned())
    }
}

impl Server {
    fn start(host: &mut Host) -> Self {
        let ready = host.start();
        let text = |name: &str| ready[name].as_str().expect("it is told").to_owned();
        let token = fs::read_to_string(text("token_file")).expect("a token").trim().to_owned();
        Self { at: text("url").trim_start_matches("http://").to_owned(), token }
    }

    /// Sends a request and leaves the answer to be read.
    fn open(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> TcpStream {
        let mut socket = TcpStream::connect(&self.at).expect("it listens");
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        let mut head = format!("{method} {path} HTTP/1.1\r\ncontent-length: {}\r\n", body.len());
        let named = |name: &str| headers.iter().any(|(known, _)| *known == name);
        if !named("host") {
            head += &format!("host: {}\r\n", self.at);
        }
        if !named("authorization") {
            head += &format!("authorization: Bearer {}\r\n", self.token);
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        socket.write_all((head + "connection: close\r\n\r\n").as_bytes()).expect("sent");
        // A body that is refused early may not be read to its end.
        socket.write_all(body).ok();
        socket
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut reader = BufReader::new(self.open(method, path, headers, body));
        let (status, headers) = head(&mut reader);
        let mut body = Vec::new();
        reader.read_to_end(&mut body).ok();
        if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
            body = unchunked(&body);
        }
        Answer { status, headers, body }
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    /// The pages of a list, each with its address, as each names the next one.
    fn pages(&self, first: &str) -> Vec<(String, Value)> {
        let (mut pages, mut next) = (Vec::new(), Some(first.to_owned()));
        while let Some(path) = next {
            let page = self.get(&path);
            let link = page.header("link").strip_prefix('<').and_then(|link| link.split_once('>'));
            next = link.map(|(next, _)| next.to_owned());
            pages.push((path, page.json()));
        }
        pages
    }

    fn post(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask("POST", path, headers, b"")
    }

    fn rollout(&self, id: &str, is: impl Fn(&Value) -> bool) -> Answer {
        let since = Instant::now();
        loop {
            let answer = self.get(&format!("/api/rollouts/{id}"));
            let view = answer.json();
            if is(&view) {
                return answer;
            }
            assert!(since.elapsed() < Duration::from_secs(60), "never so: {view:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn head(reader: &mut impl BufRead) -> (u16, BTreeMap<String, String>) {
    let mut line = String::new();
    reader.read_line(&mut line).expect("a line");
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{line}"));
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line).expect("a line");
        let Some((name, value)) = line.trim_end().split_once(':') else { return (status, headers) };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let length = usize::from_str_radix(String::from_utf8_lossy(&rest[..end]).trim(), 16).unwrap_or_default();
        let chunk = rest.get(end + 2..end + 2 + length).unwrap_or_default();
        if length == 0 || chunk.is_empty() {
            break;
        }
        whole.extend_from_slice(chunk);
        rest = &rest[end + 4 + length..];
    }
    whole
}

#[test]
fn what_is_asked_wrongly_is_refused_with_a_problem_and_nothing_is_told_without_a_token() {
    let mut host = Host::new();
    let server = Server::start(&mut host);
    let plain: &[(&str, &str)] = &[];
    let text_plain: &[(&str, &str)] = &[("content-type", "text/plain")];
    let json: &[(&str, &str)] = &[("content-type", "application/json")];
    let long = vec![b' '; 17 * 1024 * 1024];
    for (method, path, headers, body, expected) in [
        ("GET", "/api/nothing", plain, &b""[..], (404, "A003")),
        ("GET", "/api", plain, b"", (404, "A003")),
        ("GET", "/api/rollouts?limit=0", plain, b"", (400, "A031")),
        ("GET", "/api/rollouts?limit=1001", plain, b"", (400, "A031")),
        ("GET", "/api/rollouts?limit=many", plain, b"", (400, "A031")),
        ("GET", "/api/rollouts?limit=-1", plain, b"", (400, "A031")),
        ("GET", "/api/rollouts?state=happy", plain, b"", (400, "A031")),
        ("GET", "/api/services?cursor=nonsense", plain, b"", (400, "A031")),
        ("GET", "/api/rollouts/%FF", plain, b"", (400, "A031")),
        ("GET", "/api/rollouts/none", plain, b"", (404, "A013")),
        ("GET", "/api/rollouts/none?at=x", plain, b"", (400, "A031")),
        ("GET", "/api/rollouts/none/timeline", plain, b"", (404, "A013")),
        ("GET", "/api/rollouts/none/changes", plain, b"", (404, "A013")),
        ("GET", "/api/rollouts/none/report", plain, b"", (404, "A013")),
        ("GET", "/api/services/production/none", plain, b"", (404, "A013")),
        ("GET", "/api/services/Production/none", plain, b"", (400, "A007")),
        ("GET", "/api/events?after=first", plain, b"", (400, "A031")),
        ("GET", "/api/events", &[("last-event-id", "x")], b"", (400, "A031")),
        ("GET", "/api/services?token=secret", plain, b"", (400, "A030")),
        ("GET", "/api/services?limit=davy_00", plain, b"", (400, "A030")),
        ("GET", "/settings?access_token=secret", plain, b"", (400, "A030")),
        ("DELETE", "/api/services", plain, b"", (405, "A032")),
        ("OPTIONS", "/api/deploy", plain, b"", (405, "A032")),
        ("POST", "/settings", plain, b"", (405, "A032")),
        ("POST", "/api/deploy", plain, b"", (400, "A004")),
        ("POST", "/api/deploy", json, b"{\"file\": 3}", (400, "A004")),
        ("POST", "/api/deploy", json, b"{\"file\":\"\",\"folder\":\"/\",\"force\":true}", (400, "A004")),
        ("POST", "/api/deploy", json, b"{\"file\":\"\",\"folder\":\"here\"}", (400, "A005")),
        ("POST", "/api/deploy", json, b"{\"file\":\"service: [\",\"folder\":\"/\"}", (422, "A006")),
        ("POST", "/api/deploy", json, b"\xff\xfe", (400, "A004")),
        ("POST", "/api/deploy", text_plain, b"{}", (415, "A033")),
        ("POST", "/api/deploy", json, &long, (413, "A034")),
        ("POST", "/api/checkpoint", json, b"{\"force\":true}", (400, "A004")),
        ("POST", "/api/rollouts/none/abort", &[("idempotency-key", "two words")], b"", (400, "A035")),
        ("POST", "/api/rollouts/none/abort", &[("idempotency-key", "k")], b"", (404, "A013")),
        ("GET", "/api/services", &[("host", "evil.example.com")], b"", (421, "A002")),
        ("GET", "/", &[("host", "evil.example.com")], b"", (421, "A002")),
        ("GET", "/assets/none.js", plain, b"", (404, "A003")),
        ("GET", "/no-such-page", plain, b"", (404, "A003")),
    ] {
        let answer = server.ask(method, path, headers, body);
        let (status, code) = answer.refused();
        assert_eq!((status, code.as_str()), expected, "{method} {path}: {}", answer.text());
        assert!(!answer.text().contains("secret"), "what was given away is not told again: {}", answer.text());
        if status == 405 {
            assert!(!answer.header("allow").is_empty(), "{method} {path}");
        }
    }
    let description = server.get("/api/openapi.json");
    assert_eq!((description.status, description.header("cache-control")), (200, "no-store"));
    let checked_in = concat!(env!("CARGO_MANIFEST_DIR"), "/../../openapi.json");
    assert_eq!(description.text(), fs::read_to_string(checked_in).expect("it is checked in"));
    let description = description.json();
    let (mut refused, mut open) = (0, Vec::new());
    for (path, item) in description["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let method = method.to_uppercase();
            if operation["security"].as_array().is_some_and(Vec::is_empty) {
                open.push(format!("{method} {path}"));
                continue;
            }
            let path = path.replace(['{', '}'], "");
            for bearer in ["", "Bearer davy_00", "Basic YTpi"] {
                let answer = server.ask(&method, &path, &[("authorization", bearer)], b"");
                assert_eq!(answer.refused(), (401, "A001".to_owned()), "{method} {path}");
            }
            refused += 1;
        }
    }
    assert_eq!(open, OPEN);
    assert_eq!(refused + open.len(), davy_server::addresses().count());
    host.down();
}

/// What answers to those who are not known: how they become so.
pub(crate) const OPEN: [&str; 4] =
    ["POST /api/session", "GET /api/session/callback/{name}", "GET /api/session/start/{name}", "GET /api/session/ways"];

#[test]
fn the_page_is_served_to_everybody_and_lets_nothing_in() {
    let mut host = Host::new();
    let server = Server::start(&mut host);
    let nobody = [("authorization", "")];
    for path in ["/", "/rollouts/0a", "/services/production/logo", "/set-up", "/history", "/settings", "/sign-in"] {
        let answer = server.ask("GET", path, &nobody, b"");
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.text().contains("<!doctype html>"), "{path}: {}", answer.text());
        assert_eq!((answer.header("cache-control"), answer.header("content-encoding")), ("no-cache", ""));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        let policy = answer.header("content-security-policy");
        for says in
            ["default-src 'none'", "script-src 'self'", "require-trusted-types-for 'script'", "frame-ancestors 'none'"]
        {
            assert!(policy.contains(says), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
    }
    let packed = server.ask("GET", "/", &[("accept-encoding", "gzip")], b"");
    assert_eq!((packed.status, packed.header("content-encoding")), (200, "gzip"));
    assert!(packed.body.starts_with(&[0x1f, 0x8b]));
    let again = server.ask("GET", "/", &[("if-none-match", packed.header("etag"))], b"");
    assert_eq!((again.status, again.body.len()), (304, 0));
    let only_head = server.ask("HEAD", "/", &nobody, b"");
    assert_eq!((only_head.status, only_head.body.len()), (200, 0));
    let lost = server.ask("GET", "/no-such-page", &[("accept", "text/html,*/*")], b"");
    assert_eq!((lost.status, lost.header("content-type")), (404, "text/html; charset=utf-8"));
    // Whatever the document refers to is there, and may be kept for ever.
    let document = server.get("/").text();
    for part in document.split('"').filter(|part| part.starts_with("/assets/")) {
        let asset = server.ask("GET", part, &nobody, b"");
        assert_eq!(asset.status, 200, "{part}");
        assert!(asset.header("cache-control").contains("immutable"), "{part}");
    }
    host.down();
}

/// A service on trial at its first step; the id of the rollout.
fn trial(host: &Host, server: &Server) -> String {
    host.write("v1", SLOW);
    let first = host.davy(&["deploy", "--watch"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    host.write("v2", &format!("env: {{ COLOR: blue }}\n{SLOW}"));
    let second = host.davy(&["deploy", "--json"]);
    assert!(second.status.success(), "{}", text(&second));
    let listed = server.get("/api/rollouts?limit=1").json();
    let id = listed[0]["id"].as_str().expect("an id").to_owned();
    server.rollout(&id, |view| view["state"] == "holding");
    id
}

#[test]
fn actions_are_on_what_was_seen_and_are_done_once() {
    let mut host = Host::new();
    let server = Server::start(&mut host);
    let id = trial(&host, &server);
    let act = |action: &str, headers: &[(&str, &str)]| server.post(&format!("/api/rollouts/{id}/{action}"), headers);
    // Until the verdict stays as it is: nobody asks this service for anything.
    let tag = |is: &str| {
        let answer = server.rollout(&id, |view| view["state"] == is && view["verdict"] == "no-traffic");
        answer.header("etag").to_owned()
    };

    let forward = server.rollout(&id, |view| view["state"] == "holding").json();
    assert_eq!(forward["cause"], Value::Null);

    let holding = tag("holding");
    assert!(holding.starts_with('"') && holding.len() > 8, "{holding}");
    assert_eq!(act("pause", &[("if-match", "\"0000000000000000\"")]).refused(), (409, "A025".to_owned()));
    assert_eq!(tag("holding"), holding, "nothing was done");
    assert_eq!(act("pause", &[("if-match", &holding), ("idempotency-key", "one")]).status, 200);
    let paused = tag("paused");
    assert_ne!(paused, holding);

    // The same again is answered as it was; by itself it would not fit any more, nor what was seen before it.
    let again = act("pause", &[("if-match", &holding), ("idempotency-key", "one")]);
    assert_eq!((again.status, again.header("davy-repeated")), (200, "true"));
    assert_eq!(act("pause", &[]).refused(), (409, "A010".to_owned()));
    assert_eq!(act("resume", &[("if-match", &holding)]).refused(), (409, "A025".to_owned()));
    let path = format!("/api/rollouts/{id}/pause");
    let other = server.ask("POST", &path, &[("idempotency-key", "one")], b"{}");
    assert_eq!(other.refused(), (422, "A036".to_owned()), "the key stands for a request without a body");
    assert_eq!(act("resume", &[("if-match", &format!("\"x\", {paused}")), ("idempotency-key", "one")]).status, 200);
    // Nobody has read the answer: it is there for who asks again.
    let unread = server.open("POST", &path, &[("idempotency-key", "two")], b"");
    tag("paused");
    drop(unread);
    let again = act("pause", &[("idempotency-key", "two")]);
    assert_eq!((again.status, again.header("davy-repeated")), (200, "true"));
    assert_eq!(act("abort", &[("if-match", "*")]).status, 200);
    let over = server.rollout(&id, |view| view["state"] == "aborted");
    assert_ne!(over.header("etag"), holding);
    // What it was going to do and why it ended is told of one that is over, too, alone and in the list.
    let over = over.json();
    let listed = server.get("/api/rollouts?limit=1&state=ended").json();
    for (view, cause) in [(&forward, Value::Null), (&over, "person".into()), (&listed[0], "person".into())] {
        assert_eq!(view["cause"], cause, "{view:#}");
        assert_eq!(view["on_deadline"], "pause", "{view:#}");
        let lengths = ["deadline_ms", "pause_limit_ms", "bake_ms"].map(|name| view[name].as_u64());
        assert_eq!(lengths, [Some(600_000), Some(24 * 3_600_000), Some(60_000)], "{view:#}");
        assert_eq!(view["from_version"], "davy logo --port $PORT --version v1", "{view:#}");
    }

    // A service has a tag, too.
    let service = server.get("/api/services/production/logo");
    assert!(!service.header("etag").is_empty());
    let stale = server.post("/api/services/production/logo/remove", &[("if-match", &holding)]);
    assert_eq!(stale.refused(), (409, "A025".to_owned()));
    host.down();
}

#[test]
fn lists_come_in_pages_and_services_say_what_they_need() {
    let mut host = Host::new();
    let server = Server::start(&mut host);
    let id = trial(&host, &server);
    let needs = |is: fn(&Value) -> bool| {
        let since = Instant::now();
        loop {
            let services = server.get("/api/services").json();
            if is(&services[0]) {
                return services[0].clone();
            }
            assert!(since.elapsed() < Duration::from_secs(30), "never so: {services:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let on_trial = needs(|service| service["rollout"].is_string());
    assert!(on_trial["needs"].is_null() && on_trial["since"].is_u64(), "{on_trial:#}");
    assert!(on_trial["version"].as_str().is_some_and(|version| version.contains("--version v1")), "{on_trial:#}");
    assert_eq!(server.post(&format!("/api/rollouts/{id}/pause"), &[]).status, 200);
    let waits = needs(|service| !service["needs"].is_null());
    assert_eq!(waits["needs"], "admin paused it: resume, promote or abort it");

    assert_eq!(server.post(&format!("/api/rollouts/{id}/abort"), &[]).status, 200);
    server.rollout(&id, |view| view["state"] == "aborted");
    host.write("v3", &format!("env: {{ COLOR: red }}\n{SLOW}"));
    assert!(host.davy(&["deploy"]).status.success());

    let whole = server.get("/api/rollouts");
    let sequence: u64 = whole.header("davy-sequence").parse().expect("a number");
    assert!(sequence > 0 && whole.header("link").is_empty());
    let ids = |list: &Value| -> Vec<String> {
        let all = list.as_array().expect("a list").iter();
        all.map(|one| one["id"].as_str().expect("an id").to_owned()).collect()
    };
    let whole = ids(&whole.json());
    assert_eq!(whole.len(), 3);
    let pages = server.pages("/api/rollouts?limit=1&environment=production");
    assert!(pages.len() > 1 && pages.iter().all(|(_, page)| page.as_array().is_some_and(|page| page.len() <= 1)));
    assert!(pages.iter().all(|(address, _)| address.contains("environment=production")), "{pages:?}");
    let paged: Vec<String> = pages.iter().flat_map(|(_, page)| ids(page)).collect();
    assert_eq!(paged, whole, "the same, in the same order");
    // So do the events of a rollout that is over: nothing comes to them any more.
    let events = server.get(&format!("/api/rollouts/{id}/events"));
    assert!(events.header("link").is_empty() && !events.header("davy-sequence").is_empty());
    let pages = server.pages(&format!("/api/rollouts/{id}/events?limit=2"));
    assert!(pages.len() > 2 && pages.iter().all(|(_, page)| page.as_array().is_some_and(|page| page.len() <= 2)));
    let paged: Vec<Value> = pages.iter().flat_map(|(_, page)| page.as_array().cloned().unwrap_or_default()).collect();
    assert_eq!(Value::from(paged), events.json());
    let wrong = server.get(&format!("/api/rollouts/{id}/events?cursor=x"));
    assert_eq!(wrong.refused(), (400, "A031".to_owned()));
    let ended = ids(&server.get("/api/rollouts?state=ended").json());
    let live = ids(&server.get("/api/rollouts?state=live&service=logo").json());
    assert!(ended.contains(&id) && live == whole[..1], "{ended:?} {live:?} {whole:?}");
    assert!(ids(&server.get("/api/rollouts?service=other").json()).is_empty());

    let detail = server.get("/api/services/production/logo").json();
    let releases = detail["releases"].as_array().expect("releases");
    assert_eq!(releases.len(), 1, "what never served is none: {releases:#?}");
    assert_eq!((&releases[0]["live"], &releases[0]["served"][1]), (&true.into(), &Value::Null));
    host.down();
}

#[test]
fn the_journal_is_checked_by_who_asks_the_server() {
    let host = Host::up();
    host.write("v1", QUICK);
    assert_eq!(host.davy(&["deploy", "--watch"]).status.code(), Some(0));
    let head = String::from_utf8_lossy(&host.davy(&["audit", "head"]).stdout).trim().to_owned();
    let verify = |body: Value| host.post("/api/audit/verify", &body.to_string());

    let (status, found) = host.post("/api/audit/verify", "");
    assert_eq!((status, &found["type"], &found["broken"]), (200, &"verified".into(), &Value::Array(Vec::new())));
    assert!(found["events"].as_u64() > Some(5) && found["checkpoints"].as_u64() > Some(0), "{found:#}");
    let (_, with_head) = verify(serde_json::json!({ "heads": [head] }));
    assert_eq!((&with_head["heads"], &with_head["broken"]), (&1.into(), &Value::Array(Vec::new())));
    // One of another journal: the same number, another hash.
    let mut parts: Vec<String> = head.split(':').map(str::to_owned).collect();
    parts[2] = parts[2].chars().rev().collect();
    let (status, broken) = verify(serde_json::json!({ "heads": [parts.join(":")] }));
    assert_eq!(status, 200, "{broken:#}");
    assert!(broken["broken"].as_array().is_some_and(|broken| !broken.is_empty()), "{broken:#}");
    let (status, wrong) = verify(serde_json::json!({ "heads": [head, "none"] }));
    assert_eq!((status, wrong["code"].as_str()), (400, Some("A045")), "{wrong:#}");

    // The command that names a server says what that says.
    let file = host.data().join("token");
    let file = file.to_str().expect("a plain path");
    let at = |url: &str, head: &str| {
        host.davy(&["audit", "verify", "--json", "--server", url, "--token-file", file, "--head", head])
    };
    let told = at(&host.url, &head);
    assert_eq!(told.status.code(), Some(0), "{}", text(&told));
    let told: Value = serde_json::from_slice(&told.stdout).expect("JSON");
    assert_eq!((&told["type"], &told["heads"]), (&"verified".into(), &1.into()));
    let refused = at(&host.url, &parts.join(":"));
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    let away = at("http://127.0.0.1:1", &head);
    assert!(!away.status.success() && text(&away).contains("127.0.0.1:1"), "{}", text(&away));
    host.down();
}

#[test]
fn the_past_is_told_as_it_was() {
    let mut host = Host::new();
    let server = Server::start(&mut host);
    host.write("v1", QUICK);
    assert_eq!(host.davy(&["deploy", "--watch"]).status.code(), Some(0));
    let load = Load::start(&host.gateway);
    host.write("v2", &format!("env: {{ COLOR: blue }}\nreplicas: 2\n{QUICK}"));
    let deployed = host.davy(&["deploy", "--watch"]);
    assert_eq!(deployed.status.code(), Some(0), "{}", text(&deployed));
    load.stop();
    let listed = server.get("/api/rollouts?limit=1").json();
    let id = listed[0]["id"].as_str().expect("an id").to_owned();

    let changes = server.get(&format!("/api/rollouts/{id}/changes")).json();
    let told: BTreeSet<&str> =
        changes.as_array().expect("a list").iter().filter_map(|one| one["key"].as_str()).collect();
    assert!(told.is_superset(&["command", "env.COLOR", "replicas"].into()), "{changes:#}");
    let report = server.get(&format!("/api/rollouts/{id}/report"));
    assert!(
        report.header("content-type").starts_with("text/markdown") && report.text().starts_with("# "),
        "{}",
        report.text()
    );

    let timeline = server.get(&format!("/api/rollouts/{id}/timeline")).json();
    let points = timeline["points"].as_array().expect("points");
    assert!(!points.is_empty() && points.len() <= 500, "{timeline:#}");
    let last = points.last().expect("a point");
    assert!(last["canary"]["requests"].as_u64() > Some(0) && last["kind"].is_string(), "{last:#}");
    assert!(
        points.iter().any(|point| point["intended"] == 5000 && point["difference"]["high"].is_number()),
        "{points:#?}"
    );
    let decisions = timeline["decisions"].as_array().expect("decisions");
    let words: Vec<&str> = decisions.iter().filter_map(|one| one["what"].as_str()).collect();
    assert!(words.contains(&"promoted: the new release serves"), "{words:?}");
    let first_step =
        decisions.iter().find(|one| one["what"].as_str().is_some_and(|what| what.starts_with("step 1: 50 %")));
    let at = first_step.expect("the first step")["sequence"].as_u64().expect("a number");

    let then = server.get(&format!("/api/rollouts/{id}?at={at}")).json();
    assert_eq!(
        (&then["state"], &then["weight"]["intended"], &then["step"]),
        (&"shifting".into(), &5000.into(), &0.into()),
        "{then:#}"
    );
    assert!(then["outcome"].is_null() && then["from"].is_string(), "{then:#}");
    let earlier = server.get(&format!("/api/rollouts/{id}/timeline?at={at}")).json();
    let ends = earlier["decisions"].as_array().and_then(|all| all.last()).expect("a decision");
    assert_eq!(ends["sequence"].as_u64(), Some(at), "nothing of what came after: {earlier:#}");
    assert_eq!(server.get(&format!("/api/rollouts/{id}?at=1")).refused().0, 400, "it had not begun");
    host.down();
}

/// Server-sent events of one connection, until it is dropped.
struct Listening(BufReader<TcpStream>);

impl Listening {
    fn open(server: &Server, path: &str, last: Option<u64>) -> Self {
        let last = last.map(|last| last.to_string());
        let headers: Vec<(&str, &str)> = last.iter().map(|last| ("last-event-id", last.as_str())).collect();
        let mut reader = BufReader::new(server.open("GET", path, &headers, b""));
        let (status, headers) = head(&mut reader);
        assert_eq!((status, headers["content-type"].as_str()), (200, "text/event-stream"));
        Self(reader)
    }

    /// The next event: its name, its id and what it says.
    fn next(&mut self) -> (String, Option<u64>, Value) {
        let (mut name, mut id, mut data) = (String::new(), None, String::new());
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).expect("a line") > 0, "the stream ended");
            let line = line.trim_end_matches(['\r', '\n']);
            match line.split_once(": ") {
                Some(("event", value)) => value.clone_into(&mut name),
                Some(("id", value)) => id = value.parse().ok(),
                Some(("data", value)) => data += value,
                // Between chunks, and after each event.
                _ if !data.is_empty() => return (name, id, serde_json::from_str(&data).expect("JSON")),
                _ => {}
            }
        }
    }
}

#[test]
fn whoever_comes_back_to_live_events_misses_and_repeats_nothing() {
    let mut host = Host::new();
    let server = Server::start(&mut host);
    let id = trial(&host, &server);
    assert_eq!(server.post(&format!("/api/rollouts/{id}/abort"), &[]).status, 200);
    server.rollout(&id, |view| view["state"] == "aborted");
    let mut written = BTreeSet::new();
    for one in server.get("/api/rollouts").json().as_array().expect("a list") {
        let events = server.get(&format!("/api/rollouts/{}/events", one["id"].as_str().expect("an id"))).json();
        written.extend(events.as_array().expect("a list").iter().filter_map(|event| event["sequence"].as_u64()));
    }
    // Each connection is cut after a few events, with more of them under way; one of them in the midst of being written.
    let (mut heard, mut last, mut cuts) = (Vec::new(), None, 0);
    while heard.len() < written.len() {
        let mut listening = Listening::open(&server, "/api/events", last);
        for _ in 0..=(cuts % 4) {
            if heard.len() == written.len() {
                break;
            }
            let (name, id, event) = listening.next();
            assert_eq!((name.as_str(), event["sequence"].as_u64()), ("journal", id));
            heard.extend(id);
            last = id;
        }
        cuts += 1;
    }
    assert!(cuts > 3 && heard.iter().copied().eq(written.iter().copied()), "{heard:?} {written:?}");

    // The same while it is written.
    let from = *heard.last().expect("an event");
    let mut listening = Listening::open(&server, &format!("/api/events?live=true&after={from}"), None);
    host.write("v3", &format!("env: {{ COLOR: red }}\n{SLOW}"));
    assert!(host.davy(&["deploy"]).status.success());
    let (mut kinds, mut last, since) = (BTreeSet::new(), from, Instant::now());
    while kinds.len() < 3 || last < from + 4 {
        let (name, id, event) = listening.next();
        if let Some(id) = id {
            assert!(id > last, "{id} after {last}");
            last = id;
        }
        match name.as_str() {
            "journal" => assert!(id.is_some()),
            "rollout" => assert!(id.is_none() && event["type"] == "rollout", "{event:#}"),
            "service" => assert!(id.is_none() && event["type"] == "service", "{event:#}"),
            other => panic!("{other}: {event:#}"),
        }
        kinds.insert(name);
        assert!(since.elapsed() < Duration::from_secs(60), "{kinds:?}");
    }
    host.down();
}
