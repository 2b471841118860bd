//! Signing in by others who vouch, as a browser goes through it: from the page to the provider and back, with the real server.

use crate::{
    host::{Host, text},
    provider::{CLIENT, Lie, Provider, SECRET},
    sessions::{Answer, act, ask},
};
use serde_json::{Value, json};
use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

fn secret(host: &Host) -> String {
    let path = host.folder.path().join("secret");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).expect("a file");
    std::io::Write::write_all(&mut file, format!("{SECRET}\n").as_bytes()).expect("written");
    path.display().to_string()
}

fn write(host: &Host, text: &str) -> String {
    let path = host.folder.path().join("sign-in.yaml");
    fs::write(&path, text).expect("a file");
    path.display().to_string()
}

/// As a browser asks that is sent somewhere: without the page's headers.
fn visit(url: &str, cookie: Option<&str>) -> Answer {
    let rest = url.strip_prefix("http://").expect("an address");
    let (authority, path) = rest.split_at(rest.find('/').expect("a path"));
    let headers: Vec<_> = cookie.map(|cookie| ("cookie", cookie)).into_iter().collect();
    ask(&format!("http://{authority}"), "GET", path, &headers, "")
}

fn location(answer: &Answer) -> String {
    assert!([302, 303].contains(&answer.status), "{}{}", answer.head, answer.body);
    answer.header("location").expect("somewhere").to_owned()
}

/// Where the browser ends up that begins with this provider, and what it was told there.
fn through(url: &str, name: &str) -> Answer {
    let begun = visit(&format!("{url}/api/session/start/{name}"), None);
    let kept = begun.cookie();
    assert!(kept.starts_with("davy_sign_in_"), "{kept}");
    assert!(begun.header("set-cookie").is_some_and(|set| set.contains("; HttpOnly; SameSite=Lax; Max-Age=600")));
    let back = location(&visit(&location(&begun), None));
    visit(&back, Some(&kept))
}

fn cookies(answer: &Answer) -> Vec<&str> {
    let lines = answer.head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie")).map(|(_, value)| value).collect()
}

#[test]
fn whoever_the_file_names_comes_in_by_another_and_nobody_else_does() {
    let provider = Provider::start();
    let mut host = Host::new();
    let (secret, house) = (secret(&host), &provider.url);
    let file = write(
        &host,
        &format!(
            "providers:\n- name: company\n  title: The Company\n  oidc: {house}\n  client: {CLIENT}\n  secret-file: {secret}\n  may:\n\
             \x20   - {{ role: deployer, group: shop, environments: [production] }}\n\
             \x20   - {{ role: viewer, domain: example.com }}\n\
             - name: github\n  github: {house}\n  client: {CLIENT}\n  secret-file: secret\n  may: [{{ role: approver, team: example/platform }}]\n"
        ),
    );
    host.log = Some(host.folder.path().join("log"));
    let ready = host.start_with(&["--sign-in", &file]);
    let url = ready["url"].as_str().expect("its address").to_owned();
    let ways = ask(&url, "GET", "/api/session/ways", &[], "").json();
    assert_eq!(
        ways,
        json!({ "type": "ways", "ways": [
            { "name": "The Company", "kind": "oidc", "start": "/api/session/start/company" },
            { "name": "github", "kind": "github", "start": "/api/session/start/github" },
        ], "session": null })
    );
    let came = through(&url, "company");
    assert_eq!(location(&came), "/", "{}", came.head);
    assert_eq!((came.header("referrer-policy"), came.header("cache-control")), (Some("no-referrer"), Some("no-store")));
    let all = cookies(&came);
    assert!(all[0].contains("; HttpOnly; SameSite=Strict; Max-Age=43200"), "{all:?}");
    assert!(all[1].starts_with("davy_sign_in_") && all[1].contains("Max-Age=0"), "{all:?}");
    let lena = all[0].split(';').next().expect("a pair").to_owned();
    let known = act(&url, &lena, "GET", "/api/session").json();
    assert_eq!(
        (&known["name"], &known["role"], &known["by"]),
        (&json!("lena@example.com"), &json!("deployer"), &json!("oidc"))
    );
    assert_eq!(known["environments"], json!(["production"]));
    let ways = act(&url, &lena, "GET", "/api/session/ways").json();
    assert_eq!(ways["session"], known, "the page asks once");
    // What she does stands in the journal under her name.
    host.write("v1", "rollout:\n  canary: { steps: [50%, 100%], hold: 60s, deadline: 10m }\n  bake: 60s\n");
    assert_eq!(host.davy(&["deploy", "--watch"]).status.code(), Some(0));
    host.write("v2", "rollout:\n  canary: { steps: [50%, 100%], hold: 60s, deadline: 10m }\n  bake: 60s\n");
    assert!(host.davy(&["deploy"]).status.success());
    let id = host.until("on trial", |status| status["state"] == "holding")["id"].as_str().expect("an id").to_owned();
    let denied = act(&url, &lena, "POST", &format!("/api/rollouts/{id}/promote"));
    assert_eq!(denied.status, 403);
    assert!(
        denied.body.contains("`lena@example.com` is a deployer in production, and this needs an approver"),
        "{}",
        denied.body
    );
    assert_eq!(act(&url, &lena, "POST", &format!("/api/rollouts/{id}/abort")).status, 200);
    let over = host.until("over", |status| status["state"] == "aborted");
    assert!(over["why"].as_str().is_some_and(|why| why.contains("lena@example.com asked")), "{over:#}");

    let came = through(&url, "github");
    let github = cookies(&came)[0].split(';').next().expect("a pair").to_owned();
    let known = act(&url, &github, "GET", "/api/session").json();
    assert_eq!(
        (&known["name"], &known["role"], &known["by"]),
        (&json!("Lena@github"), &json!("approver"), &json!("github"))
    );

    // Nobody else, and the browser is told a word only.
    let problem = |answer: &Answer, word: &str| {
        assert_eq!(location(answer), format!("/sign-in?problem={word}"), "{}", answer.head);
        assert!(cookies(answer).iter().all(|set| !set.contains("davy_session")), "{}", answer.head);
    };
    provider.state.lock().expect("a state").teams.clear();
    problem(&through(&url, "github"), "not-allowed");
    provider.state.lock().expect("a state").claims =
        json!({ "sub": "u-1", "email": "mallory@example.com", "email_verified": false });
    problem(&through(&url, "company"), "unverified");
    for lie in [Lie::Signature, Lie::Nonce, Lie::Audience, Lie::Expired, Lie::Unsigned] {
        provider.lies(lie);
        problem(&through(&url, "company"), "provider");
    }
    provider.lies(Lie::Nothing);
    for path in [
        "callback/company",
        "callback/company?code=c1&state=x",
        "callback/company?state=a&state=b",
        "callback/company?state=%FF",
    ] {
        problem(&visit(&format!("{url}/api/session/{path}"), None), "stale");
    }
    problem(&visit(&format!("{url}/api/session/start/nobody"), None), "no-provider");
    problem(&visit(&format!("{url}/api/session/callback/nobody?code=1&state=1"), None), "no-provider");
    // Under another name it begins where the provider sends it back to.
    let port = url.rsplit_once(':').expect("a port").1;
    let begun = visit(&format!("http://localhost:{port}/api/session/start/company"), None);
    assert_eq!(location(&begun), format!("{url}/api/session/start/company?again=true"));
    let log = fs::read_to_string(host.folder.path().join("log")).expect("a log");
    assert!(
        log.contains("its signature is wrong") && log.contains("has not verified the e-mail address of `u-1@company`"),
        "{log}"
    );
    for secret in [SECRET, &*lena, &*github, "Bearer"] {
        assert!(!log.contains(secret), "{log}");
    }
    // Whoever was let in and is not to be any more.
    let end = host.davy(&["sign-in", "end", "lena@example.com"]);
    assert!(end.status.success(), "{}", text(&end));
    assert_eq!(act(&url, &lena, "GET", "/api/session").status, 401);
    let audit = text(&host.davy(&["audit", "log"]));
    assert!(
        audit.contains("lena@example.com  signed in by company, session ") && audit.contains("deployer in production"),
        "{audit}"
    );
    host.down();
}

/// One that others wrote; `scripts/setup` puts it there.
struct Company {
    url: String,
    child: Child,
}

impl Company {
    fn start() -> Self {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cache"));
        let program = cache.join("davy/oidc-provider-mock-0.3.4/bin/oidc-provider-mock");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
        let user = json!({ "sub": "u-7", "email": "lena@example.com", "email_verified": true, "groups": ["shop"] });
        let words = ["--port", &free.port().to_string(), "--user-claims", &user.to_string(), "--require-nonce", "true"];
        let child = Command::new(&program).args(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|error| panic!("{}: {error}; see scripts/setup", program.display()));
        let since = Instant::now();
        while TcpStream::connect(free).is_err() {
            assert!(since.elapsed() < Duration::from_secs(60), "it never listens");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { url: format!("http://{free}"), child }
    }
}

impl Drop for Company {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn a_provider_that_others_wrote_is_understood() {
    let company = Company::start();
    let mut host = Host::new();
    let (secret, house) = (secret(&host), &company.url);
    let may = "  may:\n    - { role: approver, group: shop }\n";
    let file =
        format!("providers:\n- name: company\n  oidc: {house}\n  client: {CLIENT}\n  secret-file: {secret}\n{may}");
    let ready = host.start_with(&["--sign-in", &write(&host, &file)]);
    let url = ready["url"].as_str().expect("its address").to_owned();
    let begun = visit(&format!("{url}/api/session/start/company"), None);
    let form = location(&begun);
    // Its form asks who one is.
    let path = form.strip_prefix(house.as_str()).expect("its own address");
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let said = ask(house, "POST", path, &[kind], "sub=u-7");
    let back = location(&said);
    let came = visit(&back, Some(&begun.cookie()));
    assert_eq!(location(&came), "/", "{}", came.head);
    let cookie = cookies(&came)[0].split(';').next().expect("a pair").to_owned();
    let known = act(&url, &cookie, "GET", "/api/session").json();
    assert_eq!((&known["name"], &known["role"]), (&json!("lena@example.com"), &json!("approver")));
    assert_eq!(location(&visit(&back, Some(&begun.cookie()))), "/sign-in?problem=stale", "it counts once");
    // Who says no, and somebody in no group.
    for (said, word) in [("action=deny", "denied"), ("sub=stranger", "not-allowed")] {
        let begun = visit(&format!("{url}/api/session/start/company"), None);
        let form = location(&begun);
        let back = location(&ask(house, "POST", form.strip_prefix(house.as_str()).expect("its own"), &[kind], said));
        assert_eq!(location(&visit(&back, Some(&begun.cookie()))), format!("/sign-in?problem={word}"));
    }
    host.down();
}

#[test]
fn a_file_that_would_let_in_the_wrong_ones_is_refused() {
    let host = Host::new();
    let (secret, data) = (secret(&host), host.data().display().to_string());
    let whole = |rest: &str| format!("providers:\n- name: company\n{rest}");
    let open = host.folder.path().join("open");
    fs::write(&open, "secret").expect("a file");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).expect("a mode");
    let (oidc, may) = ("  oidc: https://i.example.com\n  client: d\n", "  may: [{ role: viewer, group: a }]\n");
    let good = format!("{oidc}  secret-file: {secret}\n{may}");
    for (file, says) in [
        (String::new(), &["E009", "explain E062", "D035"][..]),
        ("providers: []".to_owned(), &["E062", "`providers` names 0"]),
        ("providers: {}".to_owned(), &["a list is needed"]),
        ("roles: []".to_owned(), &["there is no key `roles`"]),
        (whole(""), &["no `client`", "neither or both", "no `may`"]),
        (whole(&good.replace("https://", "http://")), &["`oidc` is `http://i.example.com`", "write https://"]),
        (
            whole(&good.replace("client: d", "client-secret: hunter2")),
            &["there is no key `client-secret`", "no `client`"],
        ),
        (whole(&good.replace("name: company", "name: x")).replace("name: company", "name: No Name"), &["no name"]),
        (whole(&good.replace("viewer", "root")), &["`role` is `root`"]),
        (whole(&good.replace("group: a", "group: a, email: a@b.c")), &["the rule names 2 of group, email, domain"]),
        (whole(&good.replace("group: a", "environments: [a]")), &["the rule names 0 of group, email, domain"]),
        (whole(&good.replace("group: a", "team: a/b")), &["there is no key `team`"]),
        (whole(&good.replace("group: a", "domain: \"@example.com\"")), &["`domain` is `@example.com`"]),
        (whole(&good.replace("group: a", "group: a, environments: []")), &["a list with names is needed"]),
        (whole(&good.replace("oidc: https://i", "github: https://i")), &["there is no key `group`"]),
        (
            format!("{}{}", whole(&good), good.replacen("  oidc", "- name: company\n  oidc", 1)),
            &["two providers of the name `company`"],
        ),
        (whole(&good.replace("secret-file: ", "secret-file: /nowhere")), &["D036", "No such file"]),
        (whole(&good.replace(&secret, &open.display().to_string())), &["D036", "others can read it"]),
    ] {
        let path = write(&host, &file);
        let up = host.davy(&[
            "up",
            "--data",
            &data,
            "--listen",
            "127.0.0.1:0",
            "--gateway",
            "127.0.0.1:0",
            "--sign-in",
            &path,
        ]);
        assert_eq!(up.status.code(), Some(2), "{file}: {}", text(&up));
        for word in says {
            assert!(text(&up).contains(word), "{word}: {file}: {}", text(&up));
        }
        assert!(!text(&up).contains(SECRET), "{}", text(&up));
    }
    let up = host.davy(&["up", "--data", &data, "--sign-in", "/nowhere/at-all"]);
    assert!(up.status.code() == Some(2) && text(&up).contains("D035"), "{}", text(&up));
    let explained = host.davy(&["config", "explain", "E062", "--json"]);
    let explained: Value = serde_json::from_slice(&explained.stdout).expect("JSON");
    // The example that it shows is one.
    let shown = explained["text"].as_str().expect("a text").split("\n\n").nth(1).expect("an example").to_owned();
    let shown = shown.replace("/etc/davy/company.secret", &secret).replace("/etc/davy/github.secret", &secret);
    assert!(davy_config::sign_in(shown.as_bytes()).is_ok(), "{shown}: {:?}", davy_config::sign_in(shown.as_bytes()));
    assert!(!host.data().exists(), "nothing is left behind");
}
