//! The API by TLS, with certificates that openssl makes: who trusts it, when its files change, and what is refused.

use crate::{
    host::{Host, text},
    remote::run,
};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

/// An authority.
pub(crate) fn authority(folder: &Path) {
    let words = ["req", "-x509", "-subj", "/CN=house", "-days", "2", "-keyout", "ca-key.pem", "-out", "ca.pem"];
    run(folder, "openssl", &[&words[..], &KEY].concat());
}

/// A certificate of that authority for `names`, in place of the one before: first the key, then the chain.
pub(crate) fn issue(folder: &Path, file: &str, subject: &str, names: &str, days: &str) {
    let names = format!("subjectAltName={names}");
    let asked = ["req", "-new", "-subj", subject, "-addext", &names, "-addext", "basicConstraints=critical,CA:FALSE"];
    run(folder, "openssl", &[&asked[..], &["-keyout", "new.key", "-out", "new.csr"], &KEY].concat());
    let signed = ["x509", "-req", "-in", "new.csr", "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-days", days];
    run(folder, "openssl", &[&signed[..], &["-copy_extensions", "copyall", "-out", "new.pem"]].concat());
    fs::rename(folder.join("new.key"), folder.join(format!("{file}.key"))).expect("the key");
    fs::rename(folder.join("new.pem"), folder.join(format!("{file}.pem"))).expect("the certificate");
}

fn path(host: &Host, name: &str) -> String {
    host.folder.path().join(name).display().to_string()
}

/// What openssl says of whom it meets at a port.
fn met(port: u16) -> String {
    let address = format!("127.0.0.1:{port}");
    let shaken = Command::new("openssl").args(["s_client", "-connect", &address]).stdin(Stdio::null()).output();
    String::from_utf8_lossy(&shaken.expect("openssl runs").stdout).into_owned()
}

fn port(url: &str) -> u16 {
    url.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port")
}

#[test]
fn the_api_by_tls_is_trusted_for_a_reason_and_takes_up_new_files() {
    let mut host = Host::new();
    let folder = host.folder.path().to_owned();
    authority(&folder);
    issue(&folder, "api", "/CN=first", "DNS:davy.example.com,DNS:localhost", "2");
    let (chain, key, ca) = (path(&host, "api.pem"), path(&host, "api.key"), path(&host, "ca.pem"));
    host.environment.push(("DAVY_CA_FILE".to_owned(), ca.clone()));
    let ready = host.start_with(&["--tls-cert", &chain, "--tls-key", &key]);
    let url = ready["url"].as_str().expect("its address").to_owned();
    let port = port(&url);
    assert_eq!(url, format!("https://davy.example.com:{port}"), "a name of the certificate");
    // A name that leads nowhere on this machine: `davy up` left the address, too.
    host.write("v1", "");
    let deployed = host.davy(&["deploy", "--watch"]);
    assert_eq!(deployed.status.code(), Some(0), "{}", text(&deployed));
    // Whoever gives an address goes there.
    let token = ready["token_file"].as_str().expect("its file").to_owned();
    let (by_name, by_number) = (format!("https://localhost:{port}"), format!("https://127.0.0.1:{port}"));
    let ask = |server: &str| host.davy(&["--server", server, "--token-file", &token, "history"]);
    let asked = ask(&by_name);
    assert_eq!(asked.status.code(), Some(0), "{}", text(&asked));
    let other = ask(&by_number);
    assert_eq!(other.status.code(), Some(6), "{}", text(&other));
    assert!(
        text(&other).contains("D027") && text(&other).contains("use a name of the certificate"),
        "{}",
        text(&other)
    );
    let unknown =
        host.command(&["--server", &by_name, "--token-file", &token, "history"]).env_remove("DAVY_CA_FILE").output();
    let unknown = unknown.expect("davy runs");
    assert_eq!(unknown.status.code(), Some(6), "{}", text(&unknown));
    assert!(text(&unknown).contains("--ca-file"), "{}", text(&unknown));
    for wrong in ["none.pem", "api.key"] {
        let wrong = host.davy(&["--ca-file", &path(&host, wrong), "--server", &by_name, "history"]);
        assert!(text(&wrong).contains("D026"), "{}", text(&wrong));
    }
    // In the clear nothing is told but how to come.
    let plain = ask(&format!("http://localhost:{port}"));
    assert!(text(&plain).contains("A008") && text(&plain).contains("https://"), "{}", text(&plain));
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    socket.write_all(b"GET /api/services HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("it answers and ends");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("this port speaks TLS"), "{answer}");
    // What cannot be used is left out, what can is served: without a restart.
    let met_as = |subject: &str| {
        let since = Instant::now();
        while !met(port).contains(&format!("CN = {subject}")) {
            assert!(since.elapsed() < Duration::from_secs(30), "never {subject}: {}", met(port));
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    met_as("first");
    fs::write(&chain, "no certificate").expect("a file");
    issue(&folder, "other", "/CN=other", "DNS:localhost", "2");
    std::thread::sleep(Duration::from_millis(1_500));
    met_as("first");
    issue(&folder, "api", "/CN=second", "DNS:localhost", "2");
    met_as("second");
    let asked = ask(&by_name);
    assert_eq!(asked.status.code(), Some(0), "{}", text(&asked));
    let doctor = host.davy(&["doctor", "--server", &by_name, "--token-file", &token]);
    assert_eq!(doctor.status.code(), Some(0), "{}", text(&doctor));
    let down = host.davy(&["down", "--server", &by_name, "--token-file", &token, "--data", &path(&host, "d")]);
    assert_eq!(down.status.code(), Some(0), "{}", text(&down));
    host.ended();
    assert!(text(&down).contains("stopped"), "{}", text(&down));
    assert_eq!(host.processes(), Vec::<String>::new());
}

#[test]
fn one_that_signed_itself_serves_its_own_user_without_more() {
    let mut host = Host::new();
    let words = ["req", "-x509", "-subj", "/CN=self", "-days", "2", "-keyout", "api.key", "-out", "api.pem"];
    let names = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"];
    run(host.folder.path(), "openssl", &[&words[..], &names, &KEY].concat());
    let ready = host.start_with(&["--tls-cert", &path(&host, "api.pem"), "--tls-key", &path(&host, "api.key")]);
    let url = ready["url"].as_str().expect("its address");
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let asked = host.davy(&["service", "list"]);
    assert_eq!(asked.status.code(), Some(0), "{}", text(&asked));
    host.down();
}

#[test]
fn what_would_show_tokens_or_convince_nobody_is_refused() {
    let host = Host::new();
    let folder = host.folder.path().to_owned();
    authority(&folder);
    issue(&folder, "api", "/CN=api", "DNS:localhost", "2");
    issue(&folder, "other", "/CN=other", "DNS:localhost", "2");
    issue(&folder, "late", "/CN=late", "DNS:localhost", "-1");
    issue(&folder, "nameless", "/CN=nameless", "email:nobody@example.com", "2");
    let (chain, key, other) = (path(&host, "api.pem"), path(&host, "api.key"), path(&host, "other.key"));
    let (late, late_key) = (path(&host, "late.pem"), path(&host, "late.key"));
    let (nameless, nameless_key) = (path(&host, "nameless.pem"), path(&host, "nameless.key"));
    let missing = path(&host, "missing.pem");
    let loopback = "127.0.0.1:0";
    let cases: [(&str, &[&str], &[&str]); 8] = [
        ("0.0.0.0:0", &[], &["D030", "--tls-cert", "--behind-proxy"]),
        (loopback, &["--tls-cert", &chain], &["--tls-key"]),
        (loopback, &["--tls-cert", &missing, "--tls-key", &key], &["D034", "missing.pem", "No such file"]),
        (loopback, &["--tls-cert", &chain, "--tls-key", &missing], &["D034", "missing.pem", "No such file"]),
        (loopback, &["--tls-cert", &chain, "--tls-key", &other], &["D034", "other.key", "does not fit"]),
        (loopback, &["--tls-cert", &late, "--tls-key", &late_key], &["D034", "late.pem", "expired at"]),
        (loopback, &["--tls-cert", &nameless, "--tls-key", &nameless_key], &["D034", "names no host"]),
        ("0.0.0.0:0", &["--tls-cert", &key, "--tls-key", &key], &["D034", "no certificate"]),
    ];
    for (listen, words, said) in cases {
        let data = path(&host, "d");
        let up = ["up", "--data", &data, "--listen", listen, "--gateway", loopback];
        let output = host.davy(&[&up[..], words].concat());
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", text(&output));
        for word in said {
            assert!(text(&output).contains(word), "{words:?}: {word}: {}", text(&output));
        }
        assert!(!Path::new(&data).exists(), "nothing is left behind");
    }
}

#[test]
fn behind_a_proxy_it_is_known_by_the_proxys_name_and_no_other() {
    let mut host = Host::new();
    let ready = host.start_with(&["--behind-proxy", "davy.example.com"]);
    let address = ready["url"].as_str().expect("its address").trim_start_matches("http://").to_owned();
    let token = fs::read_to_string(ready["token_file"].as_str().expect("its file")).expect("a token");
    let ask = |name: &str| {
        let mut socket = TcpStream::connect(&address).expect("it listens");
        let token = token.trim();
        let head = format!("GET /api/services HTTP/1.1\r\nhost: {name}\r\nauthorization: Bearer {token}\r\n");
        socket.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).expect("it reads");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("it answers");
        answer
    };
    for known in ["davy.example.com", "DAVY.example.com:443", "localhost:1", &address] {
        assert!(ask(known).starts_with("HTTP/1.1 200 "), "{known}: {}", ask(known));
    }
    for other in ["example.com", "davy.example.com.evil.com", "10.1.2.3", ""] {
        assert!(ask(other).starts_with("HTTP/1.1 421 "), "{other}: {}", ask(other));
    }
    host.down();
    // In the open, because it was said who does TLS.
    let mut host = Host::new();
    let ready = host.start_with(&["--listen", "0.0.0.0:0", "--behind-proxy", "davy.example.com"]);
    assert!(ready["url"].as_str().expect("its address").starts_with("http://127.0.0.1:"), "{ready}");
    let asked = host.davy(&["service", "list"]);
    assert_eq!(asked.status.code(), Some(0), "{}", text(&asked));
    host.down();
}
