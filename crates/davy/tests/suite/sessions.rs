//! Signing in on the page: codes, cookies, what another page may not do, and when a session ends.

use crate::host::{DAVY, Host, text};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::Stdio,
    time::{Duration, Instant},
};

/// An answer as it came.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// The cookie that it sets, as it is sent back.
    pub(crate) fn cookie(&self) -> String {
        let set = self.header("set-cookie").unwrap_or_else(|| panic!("{}{}", self.head, self.body));
        set.split(';').next().expect("a pair").to_owned()
    }

    fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

fn open(url: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
    let authority = url.trim_start_matches("http://");
    let mut socket = TcpStream::connect(authority).expect("it listens");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| *name == "host") {
        head += &format!("host: {authority}\r\n");
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    socket.write_all(head.as_bytes()).expect("sent");
    socket
}

pub(crate) fn ask(url: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut answer = Vec::new();
    open(url, method, path, headers, body).read_to_end(&mut answer).expect("an answer");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}: {answer}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

pub(crate) const PAGE: (&str, &str) = ("davy-page", "1");
pub(crate) const SAME: (&str, &str) = ("sec-fetch-site", "same-origin");

/// As the page signs in.
pub(crate) fn sign_in(url: &str, body: &Value) -> Answer {
    ask(url, "POST", "/api/session", &[PAGE, SAME], &body.to_string())
}

/// As the page acts.
pub(crate) fn act(url: &str, cookie: &str, method: &str, path: &str) -> Answer {
    ask(url, method, path, &[PAGE, SAME, ("cookie", cookie)], "")
}

pub(crate) fn code(host: &Host, words: &[&str]) -> String {
    let all: Vec<&str> = ["sign-in"].iter().chain(words).copied().collect();
    let output = host.davy(&all);
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn url_of(ready: &Value) -> String {
    ready["url"].as_str().expect("its address").to_owned()
}

#[test]
fn a_code_signs_in_once_and_its_session_may_what_its_role_may() {
    let mut host = Host::new();
    let url = url_of(&host.start());
    host.write("v1", "rollout:\n  canary: { steps: [50%, 100%], hold: 60s, deadline: 10m }\n  bake: 60s\n");
    let made = host.davy(&["sign-in", "--json"]);
    let made: Value = serde_json::from_slice(&made.stdout).expect("JSON");
    assert_eq!((made["type"].as_str(), made["url"].as_str()), (Some("code"), Some(&*url)));
    let typed = made["code"].as_str().expect("a code").to_owned();
    let lowered = typed.to_lowercase().replace('-', " ");
    let signed = sign_in(&url, &json!({ "code": lowered }));
    assert_eq!(signed.status, 200, "{}{}", signed.head, signed.body);
    let session = signed.json();
    assert_eq!(
        (&session["type"], &session["name"], &session["role"]),
        (&json!("session"), &json!("admin"), &json!("admin"))
    );
    assert_eq!((&session["by"], &session["environments"]), (&json!("code"), &json!([])));
    let hours = session["expires"].as_u64().expect("until when") - made["expires"].as_u64().expect("until when");
    assert!((42_000_000..=43_200_000).contains(&hours), "{hours}");
    let set = signed.header("set-cookie").expect("a cookie").to_owned();
    assert!(set.starts_with("davy_session_") && set.contains("; Path=/; HttpOnly; SameSite=Strict; Max-Age="), "{set}");
    assert!(!set.contains("Secure"), "{set}");
    let admin = signed.cookie();
    // Used, and never there.
    for wrong in [&*typed, "0000-0000", "", "x"] {
        let refused = sign_in(&url, &json!({ "code": wrong }));
        assert_eq!((refused.status, &*refused.code()), (401, "A029"), "{}", refused.body);
        assert!(refused.header("set-cookie").is_none());
        assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    }
    for body in ["", "{}", "[]", "{\"code\":\"A\",\"token\":\"B\"}", "{\"code\":1}", "{\"code\":\"A\",\"x\":1}"] {
        let refused = ask(&url, "POST", "/api/session", &[PAGE, SAME], body);
        assert_eq!(refused.status, 400, "{body}: {}", refused.body);
    }
    let known = act(&url, &admin, "GET", "/api/session");
    assert_eq!(known.json(), session);
    let output = host.davy(&["deploy", "--watch"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    host.write("v2", "rollout:\n  canary: { steps: [50%, 100%], hold: 60s, deadline: 10m }\n  bake: 60s\n");
    assert!(host.davy(&["deploy"]).status.success());
    let id = host.until("on trial", |status| status["state"] == "holding")["id"].as_str().expect("an id").to_owned();

    // One with less, under a name of its own.
    let viewer = sign_in(&url, &json!({ "code": code(&host, &["--name", "guest", "--role", "viewer"]) }));
    assert_eq!((&viewer.json()["name"], &viewer.json()["role"]), (&json!("guest"), &json!("viewer")));
    let viewer = viewer.cookie();
    assert_eq!(act(&url, &viewer, "GET", &format!("/api/rollouts/{id}")).status, 200);
    for path in
        [format!("/api/rollouts/{id}/promote"), format!("/api/rollouts/{id}/abort"), "/api/session/codes".to_owned()]
    {
        let denied = act(&url, &viewer, "POST", &path);
        assert_eq!((denied.status, &*denied.code()), (403, "A017"), "{}", denied.body);
        assert!(denied.body.contains("`guest` is a viewer, and this needs a"), "{}", denied.body);
    }
    let elsewhere = code(&host, &["--name", "narrow", "--role", "admin", "--env", "staging"]);
    let elsewhere = sign_in(&url, &json!({ "code": elsewhere })).cookie();
    assert_eq!(act(&url, &elsewhere, "GET", "/api/rollouts").json(), json!([]));
    assert_eq!(act(&url, &elsewhere, "POST", &format!("/api/rollouts/{id}/abort")).status, 403);

    // What the page does stands in the journal with who did it.
    let done = act(&url, &admin, "POST", &format!("/api/rollouts/{id}/abort"));
    assert_eq!(done.status, 200, "{}", done.body);
    let over = host.until("over", |status| status["state"] == "aborted");
    assert!(over["why"].as_str().is_some_and(|why| why.contains("admin asked")), "{over:#}");

    let out = act(&url, &viewer, "DELETE", "/api/session");
    assert_eq!((out.status, out.body.as_str()), (204, ""));
    assert!(
        out.header("set-cookie").is_some_and(|set| set.contains("=; ") && set.contains("Max-Age=0")),
        "{}",
        out.head
    );
    let ended = act(&url, &viewer, "GET", "/api/session");
    assert_eq!((ended.status, &*ended.code()), (401, "A001"), "{}", ended.body);
    let list = text(&host.davy(&["sign-in", "list"]));
    assert!(list.contains("admin  admin  *  by code") && list.contains("narrow  admin  staging  by code"), "{list}");
    assert!(!list.contains("guest"), "{list}");
    let end = host.davy(&["sign-in", "end", "narrow"]);
    assert!(end.status.success(), "{}", text(&end));
    assert_eq!(act(&url, &elsewhere, "GET", "/api/session").status, 401);
    assert_eq!(host.davy(&["sign-in", "end", "narrow"]).status.code(), Some(2));
    let log = text(&host.davy(&["audit", "log"]));
    for says in [
        "guest  signed in by a code, session ",
        "viewer everywhere",
        "guest  ended session ",
        "admin  ended session ",
        "admin in staging",
    ] {
        assert!(log.contains(says), "{says}: {log}");
    }
    for secret in [&admin, &typed] {
        let secret = secret.rsplit('=').next().expect("a value");
        for name in ["journal.db", "journal.db-wal"] {
            let bytes = fs::read(host.data().join(name)).unwrap_or_default();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{name}");
        }
    }
    assert!(host.davy(&["audit", "verify", "--data", host.data().to_str().expect("a path")]).status.success());
    host.down();
}

#[test]
fn no_other_page_can_act_with_its_cookie() {
    let mut host = Host::new();
    let url = url_of(&host.start());
    let authority = url.trim_start_matches("http://").to_owned();
    let cookie = sign_in(&url, &json!({ "code": code(&host, &[]) })).cookie();
    let (own, name) = (("cookie", &*cookie), cookie.split('=').next().expect("a name").to_owned());
    let post =
        |headers: &[(&str, &str)]| ask(&url, "POST", "/api/tokens", headers, "{\"name\":\"!\",\"role\":\"viewer\"}");
    let foreign = ("origin", "https://evil.example.com");
    let (page, port) = (format!("http://{authority}"), ("origin", "http://127.0.0.1:3000"));
    for headers in [
        &[own][..],
        &[own, PAGE],
        &[own, SAME],
        &[own, ("origin", &page)],
        &[own, PAGE, foreign],
        &[own, PAGE, port],
        &[own, PAGE, SAME, foreign],
        &[own, PAGE, ("sec-fetch-site", "same-site"), ("origin", &page)],
        &[own, PAGE, ("sec-fetch-site", "cross-site")],
        &[own, PAGE, ("origin", "null")],
        &[own, PAGE, ("host", "localhost"), ("origin", &page)],
    ] {
        let refused = post(headers);
        assert_eq!((refused.status, &*refused.code()), (403, "A027"), "{headers:?}: {}", refused.body);
    }
    // The name is none: it was let in.
    for headers in [&[own, PAGE, SAME][..], &[own, PAGE, ("origin", &page)], &[own, PAGE, SAME, ("origin", &page)]] {
        assert_eq!(post(headers).status, 422, "{headers:?}: {}", post(headers).body);
    }
    // Nobody is signed in by another page, either.
    for headers in [&[][..], &[PAGE], &[PAGE, foreign], &[SAME]] {
        let refused = ask(&url, "POST", "/api/session", headers, &json!({ "code": code(&host, &[]) }).to_string());
        assert_eq!((refused.status, &*refused.code()), (403, "A027"), "{headers:?}: {}", refused.body);
    }
    // A token is no cookie's value, and a cookie no token.
    let token = fs::read_to_string(host.data().join("token")).expect("a token").trim().to_owned();
    let (made_up, bearer) =
        (format!("{name}={token}"), format!("Bearer {}", cookie.rsplit('=').next().expect("a value")));
    let forged = [
        ("cookie", format!("{name}={}", "0".repeat(64))),
        ("cookie", format!("{name}=")),
        ("cookie", format!("davy_session={}", cookie.rsplit('=').next().expect("a value"))),
        ("cookie", made_up),
        ("authorization", bearer),
    ];
    for (header, value) in &forged {
        for (method, path) in [("GET", "/api/services"), ("POST", "/api/tokens")] {
            let refused = ask(&url, method, path, &[PAGE, SAME, (header, value)], "{}");
            assert_eq!((refused.status, &*refused.code()), (401, "A001"), "{header}: {value}: {}", refused.body);
        }
    }
    // Beside a cookie that somebody else has set, one's own is found.
    let both = format!("{name}=other; {cookie}");
    assert_eq!(ask(&url, "GET", "/api/session", &[("cookie", &both)], "").status, 200);
    // Nothing is allowed to others that ask first.
    let asked = ask(&url, "OPTIONS", "/api/tokens", &[foreign, ("access-control-request-method", "POST")], "");
    assert!(asked.header("access-control-allow-origin").is_none(), "{}", asked.head);
    host.down();
}

#[test]
fn wrong_codes_are_tried_a_few_times_only() {
    let mut host = Host::new();
    let url = url_of(&host.start_with(&["--behind-proxy", "davy.example.com"]));
    let try_from = |from: &str, code: &str| {
        let (host, own) = (("host", "davy.example.com"), ("x-forwarded-for", from));
        ask(&url, "POST", "/api/session", &[PAGE, SAME, host, own], &json!({ "code": code }).to_string())
    };
    let right = code(&host, &[]);
    for _ in 0..5 {
        assert_eq!(try_from("192.0.2.1", "0000-0000").status, 401);
    }
    // Also with a right one: else many could be tried to find it. What the client writes itself comes first and is not believed.
    for from in ["192.0.2.1", "198.51.100.7, 192.0.2.1"] {
        let refused = try_from(from, &right);
        assert_eq!((refused.status, &*refused.code()), (429, "A026"), "{}", refused.body);
        let after: u64 = refused.header("retry-after").expect("when").parse().expect("seconds");
        assert!((1..=12).contains(&after), "{after}");
        assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    }
    // Programs go on, and so does somebody elsewhere. Behind a proxy that does TLS the cookie goes nowhere else.
    assert!(host.davy(&["service", "list"]).status.success());
    let signed = try_from("192.0.2.2", &right);
    assert_eq!(signed.status, 200, "{}", signed.body);
    let set = signed.header("set-cookie").expect("a cookie");
    assert!(set.starts_with("__Host-davy_session_") && set.ends_with("; Secure"), "{set}");
    // All together: who takes another address for each try comes no further.
    let right = code(&host, &[]);
    let mut tried = 0;
    while try_from(&format!("192.0.2.{}", 10 + tried), "0000-0000").status == 401 {
        tried += 1;
        assert!(tried < 200, "there is no end");
    }
    assert!((40..=60).contains(&tried), "{tried}");
    assert_eq!(try_from("198.51.100.1", &right).status, 429);
    host.down();
    // Without a proxy nobody says where he comes from but the connection.
    let mut host = Host::new();
    let url = url_of(&host.start());
    let mut last = 0;
    for tried in 0..6 {
        let from = format!("192.0.2.{tried}");
        last = ask(&url, "POST", "/api/session", &[PAGE, SAME, ("x-forwarded-for", &from)], "{\"code\":\"0\"}").status;
    }
    assert_eq!(last, 429);
    host.down();
}

#[test]
fn one_who_asks_without_end_is_told_to_wait_and_others_are_not() {
    let mut host = Host::new();
    let url = url_of(&host.start());
    let token = fs::read_to_string(host.data().join("token")).expect("a token").trim().to_owned();
    let other = host.davy(&["token", "create", "other", "--role", "viewer"]);
    let other = format!("Bearer {}", String::from_utf8_lossy(&other.stdout).trim());
    let authority = url.trim_start_matches("http://").to_owned();
    // Many on one connection, faster than they are allowed: all at once, then the answers.
    let mut socket = TcpStream::connect(&authority).expect("it listens");
    let one = format!("GET /api/nothing HTTP/1.1\r\nhost: {authority}\r\nauthorization: Bearer {token}\r\n\r\n");
    let mut reading = socket.try_clone().expect("another handle");
    let sending = std::thread::spawn(move || {
        let many = one.repeat(50);
        // Until the connection is ended from here.
        while socket.write_all(many.as_bytes()).is_ok() {}
    });
    let (mut seen, mut piece, since) = (String::new(), [0; 65_536], Instant::now());
    while !seen.contains("HTTP/1.1 429") {
        assert!(since.elapsed() < Duration::from_secs(120), "it never ends");
        let length = reading.read(&mut piece).expect("answers");
        let kept = seen.len().saturating_sub(16);
        seen = seen.split_off(kept) + &String::from_utf8_lossy(&piece[..length]);
    }
    // Somebody else has a share of his own.
    assert_eq!(ask(&url, "GET", "/api/services", &[("authorization", &other)], "").status, 200);
    reading.shutdown(std::net::Shutdown::Both).ok();
    sending.join().expect("it ends");
    host.down();
}

#[test]
fn a_session_outlives_the_server_and_not_the_token_behind_it() {
    let mut host = Host::new();
    let url = url_of(&host.start());
    let given = host.davy(&["token", "create", "lena", "--role", "deployer", "--env", "production"]);
    let token = String::from_utf8_lossy(&given.stdout).trim().to_owned();
    let signed = sign_in(&url, &json!({ "token": token }));
    assert_eq!((&signed.json()["name"], &signed.json()["by"]), (&json!("lena"), &json!("token")));
    assert_eq!(signed.json()["environments"], json!(["production"]));
    let (lena, own) = (signed.cookie(), sign_in(&url, &json!({ "code": code(&host, &[]) })).cookie());
    for wrong in ["davy_0f", &token[..60], ""] {
        assert_eq!(sign_in(&url, &json!({ "token": wrong })).status, 401);
    }
    // A token asks who it is, too, and has no session to end.
    let bearer = ("authorization", &*format!("Bearer {token}"));
    let known = ask(&url, "GET", "/api/session", &[bearer], "");
    assert_eq!((&known.json()["name"], &known.json()["expires"]), (&json!("lena"), &Value::Null));
    assert_eq!(ask(&url, "DELETE", "/api/session", &[bearer], "").status, 409);

    host.kill();
    let url = url_of(&host.start());
    for cookie in [&lena, &own] {
        assert_eq!(act(&url, cookie, "GET", "/api/session").status, 200);
    }
    // What it follows ends with it.
    let following = open(&url, "GET", "/api/events", &[("cookie", &lena)], "");
    let mut lines = BufReader::new(following).lines();
    assert!(lines.next().expect("a line").expect("a head").contains("200"));
    let revoked = host.davy(&["token", "revoke", "lena"]);
    assert!(revoked.status.success(), "{}", text(&revoked));
    let ended = act(&url, &lena, "GET", "/api/session");
    assert_eq!((ended.status, &*ended.code()), (401, "A001"), "{}", ended.body);
    assert!(lines.map_while(Result::ok).count() < 1_000, "it ends");
    assert_eq!(act(&url, &own, "GET", "/api/session").status, 200);
    assert_eq!(sign_in(&url, &json!({ "token": token })).status, 401);
    host.down();
}

#[test]
fn a_terminal_is_shown_a_code_and_a_log_is_not() {
    let mut host = Host::new();
    host.log = Some(host.folder.path().join("log"));
    host.environment.push(("DAVY_LOG".to_owned(), "info".to_owned()));
    let url = url_of(&host.start());
    let log = || fs::read_to_string(host.folder.path().join("log")).expect("a log");
    let since = Instant::now();
    while !log().contains("`davy sign-in` prints a code") {
        assert!(since.elapsed() < Duration::from_secs(30), "{}", log());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(log().contains(&url) && !log().contains("sign in there with"), "{}", log());
    host.down();

    let host = Host::new();
    let data = host.data().display().to_string();
    let mut command = host.command(&[]);
    let words = format!("'{DAVY}' up --listen 127.0.0.1:0 --gateway 127.0.0.1:0 --data '{data}'");
    let mut shown = std::process::Command::new("script");
    shown.args(["-qefc", &words, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    for (name, value) in command.env_remove("DAVY_SERVER").get_envs() {
        match value {
            Some(value) => shown.env(name, value),
            None => shown.env_remove(name),
        };
    }
    let mut running = shown.current_dir(host.folder.path()).spawn().expect("script runs");
    let mut lines = BufReader::new(running.stdout.take().expect("piped")).lines();
    let told = lines.find_map(|line| line.ok().filter(|line| line.contains("the page is at"))).expect("it is told");
    let (before, after) = told.split_once("; sign in there with ").expect("a code");
    let url = before.split("the page is at ").nth(1).expect("an address").to_owned();
    let typed = after.split(',').next().expect("a code").to_owned();
    assert_eq!(sign_in(&url, &json!({ "code": typed })).json()["name"], "admin");
    let down = host.davy(&["down"]);
    assert!(down.status.success(), "{}", text(&down));
    running.wait().expect("it ends");
    host.down();
}

#[test]
fn the_demo_can_be_looked_at() {
    let host = Host::new();
    let mut command = host.command(&["demo", "--scenario", "quiet", "--json"]);
    let mut demo = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("davy runs");
    let mut lines = BufReader::new(demo.stderr.take().expect("piped")).lines();
    let told = lines.find_map(|line| line.ok().filter(|line| line.starts_with("see it at "))).expect("it is told");
    let (url, code) = told["see it at ".len()..].split_once("; sign in there with ").expect("a code");
    let cookie = sign_in(url, &json!({ "code": code })).cookie();
    let since = Instant::now();
    while act(url, &cookie, "GET", "/api/rollouts").json().as_array().is_none_or(Vec::is_empty) {
        assert!(since.elapsed() < Duration::from_secs(60), "nothing is shown");
        std::thread::sleep(Duration::from_millis(20));
    }
    let told = std::process::Command::new("kill").args(["-INT", &demo.id().to_string()]).status();
    assert!(told.expect("kill runs").success());
    std::thread::spawn(move || lines.for_each(drop));
    assert_eq!(demo.wait().expect("it ends").code(), Some(130));
}
