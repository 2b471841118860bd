//! Engines of other machines: by TLS, with certificates made here, and by SSH, with a server and a key made here.

use crate::{
    docker::sample,
    engine::Engine,
    host::{Host, Load, text},
};
use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

fn free() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port()
}

pub(crate) fn run(folder: &Path, program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).current_dir(folder).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}: scripts/setup installs it"));
    assert!(output.status.success(), "{program} {words:?}: {}", text(&output));
}

/// An authority, and a certificate and key that it signed for 127.0.0.1, under the names that Docker uses.
fn certificates(folder: &Path, name: &str) {
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    let authority = ["req", "-x509", "-subj", &format!("/CN={name}"), "-keyout", "ca-key.pem", "-out", "ca.pem"];
    run(folder, "openssl", &[&authority[..], &key].concat());
    let names = "subjectAltName=IP:127.0.0.1";
    let own = ["req", "-x509", "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-subj", "/CN=engine", "-addext", names];
    let used = ["-addext", "extendedKeyUsage=serverAuth,clientAuth", "-addext", "basicConstraints=critical,CA:FALSE"];
    run(folder, "openssl", &[&own[..], &used, &["-keyout", "key.pem", "-out", "cert.pem"], &key].concat());
}

fn write(host: &Host, version: &str) {
    let file = format!(
        "service: logo\nimage: logo:1\ncommand: /davy logo --host 0.0.0.0 --port $PORT --version {version}\nport: 8080\n\
         stop-signal: SIGKILL\nreplicas: 2\nhealth: {{ path: /healthz, grace: 20s, interval: 500ms }}\n\
         rollout:\n  canary: {{ steps: [50%, 100%], hold: 1s, deadline: 60s }}\n  drain: 1s\n  bake: 1s\n"
    );
    fs::write(host.folder.path().join("davy.yaml"), file).expect("a file");
}

/// A whole canary; the instances are reached at ports of the engine's machine.
fn rolls_out(host: &Host, engine: &Engine) {
    write(host, "v1");
    let first = host.davy(&["deploy", "--watch"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    let ports = engine.said(&["ps", "--format", "{{.Ports}}"]);
    assert!(ports.lines().count() == 2 && ports.lines().all(|line| line.starts_with("127.0.0.1:")), "{ports}");
    let load = Load::start(&host.gateway);
    write(host, "v2");
    let second = host.davy(&["deploy", "--watch"]);
    assert_eq!(second.status.code(), Some(0), "{}", text(&second));
    host.until("over", |status| status["state"] == "promoted");
    assert_eq!(host.get(), Some((200, "v2".to_owned())));
    let (sent, failed) = load.stop();
    assert!(sent > 300 && failed == 0, "{failed} of {sent}");
    let logs = host.davy(&["logs", "logo"]);
    assert!(logs.status.success(), "{}", text(&logs));
}

/// A server with this environment refuses to deploy, and says why.
fn refuses(environment: &[(&str, String)], says: &str, hint: &str) {
    let mut host = Host::new();
    host.environment.extend(environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    host.start();
    write(&host, "v1");
    let refused = host.davy(&["deploy"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert!(text(&refused).contains(says) && text(&refused).contains(hint), "{says}, {hint}: {}", text(&refused));
    host.down();
}

#[test]
fn an_engine_is_reached_by_tls_and_nobody_else_s_certificate_will_do() {
    let folder = tempfile::tempdir_in("/tmp").expect("a folder");
    let (good, other) = (folder.path().join("good"), folder.path().join("other"));
    for (folder, name) in [(&good, "good"), (&other, "other")] {
        fs::create_dir(folder).expect("a folder");
        certificates(folder, name);
    }
    // One that trusts the engine, and that the engine does not trust.
    let stranger = folder.path().join("stranger");
    fs::create_dir(&stranger).expect("a folder");
    for (from, name) in [(&good, "ca.pem"), (&other, "cert.pem"), (&other, "key.pem")] {
        fs::copy(from.join(name), stranger.join(name)).expect("a copy");
    }
    let port = free();
    let at = |name: &str| good.join(name).display().to_string();
    let engine = Engine::with(vec![
        "--host".to_owned(),
        format!("tcp://127.0.0.1:{port}"),
        "--tlsverify".to_owned(),
        format!("--tlscacert={}", at("ca.pem")),
        format!("--tlscert={}", at("cert.pem")),
        format!("--tlskey={}", at("key.pem")),
    ]);
    sample(&engine, "logo:1");
    let environment = |folder: &Path, port: u16| {
        let folder = folder.display().to_string();
        let verify = ("DOCKER_TLS_VERIFY", "1".to_owned());
        vec![("DOCKER_HOST", format!("tcp://127.0.0.1:{port}")), verify, ("DOCKER_CERT_PATH", folder)]
    };
    refuses(&environment(&other, port), "UnknownIssuer", "ca.pem");
    refuses(&environment(&stranger, port), "alert", "--tlscacert");
    refuses(&environment(folder.path(), port), "ca.pem", "DOCKER_CERT_PATH is a folder with");
    refuses(&environment(&good, free()), "refused", "its engine listens there");
    refuses(&environment(&good, port)[..1], "HTTPS", "DOCKER_TLS_VERIFY");
    refuses(&[("DOCKER_HOST", "tcp://192.0.2.1:2375".to_owned())], "without TLS", "ssh://USER@HOST");
    let mut host = Host::new();
    host.environment.extend(environment(&good, port).into_iter().map(|(name, value)| (name.to_owned(), value)));
    host.start();
    rolls_out(&host, &engine);
    host.down();
    assert!(engine.containers().is_empty());
}

/// An SSH server on loopback that knows one key, which may do nothing but speak to one engine.
struct Ssh {
    server: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Ssh {
    fn start(engine: &Engine) -> Self {
        let folder = tempfile::tempdir_in("/tmp").expect("a folder");
        let here = folder.path();
        run(here, "dropbearkey", &["-t", "ed25519", "-f", "host-key"]);
        run(here, "ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", "key"]);
        run(here, "ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", "unknown-key"]);
        let key = fs::read_to_string(here.join("key.pub")).expect("a key");
        let forced = format!("command=\"DOCKER_HOST={} /usr/bin/docker system dial-stdio\" {key}", engine.host());
        fs::create_dir_all(here.join("home/.ssh")).expect("a folder");
        fs::write(here.join("home/.ssh/authorized_keys"), forced).expect("a file");
        for private in ["home", "home/.ssh"] {
            fs::set_permissions(here.join(private), fs::Permissions::from_mode(0o700)).expect("its mode");
        }
        let port = free();
        // The server looks for keys in its user's home: only its own processes see another one there.
        let script = format!(
            "mount --bind '{0}/home' \"$(getent passwd \"$(id -u)\" | cut -d: -f6)\" && exec dropbear -F -E -s -r '{0}/host-key' -p 127.0.0.1:{port} -P '{0}/pid'",
            here.display()
        );
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
        unshare.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(here.join("log")).expect("a log"));
        let server = unshare.spawn().expect("unshare runs");
        let since = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = fs::read_to_string(here.join("log")).unwrap_or_default();
            assert!(since.elapsed() < Duration::from_secs(20), "the server never listened: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { server, folder, port }
    }

    /// The environment of a user with this key; `knows` is what its ssh does about a server that it does not know yet.
    fn user(&self, name: &str, key: &str, knows: &str) -> Vec<(&'static str, String)> {
        let here = self.folder.path();
        let bin = here.join(name);
        fs::create_dir(&bin).expect("a folder");
        let settings = format!(
            "Host *\n  IdentityFile {0}/{key}\n  IdentitiesOnly yes\n  IdentityAgent none\n  UserKnownHostsFile {0}/{name}/known\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking {knows}\n",
            here.display()
        );
        fs::write(bin.join("config"), settings).expect("a file");
        let ssh = bin.join("ssh");
        fs::write(&ssh, format!("#!/bin/sh\nexec /usr/bin/ssh -F '{}/config' \"$@\"\n", bin.display()))
            .expect("a file");
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).expect("its mode");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
        vec![("DOCKER_HOST", format!("ssh://{user}@127.0.0.1:{}", self.port)), ("PATH", path)]
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

#[test]
fn an_engine_is_reached_by_ssh_and_refusals_say_what_to_do() {
    let engine = Engine::start();
    sample(&engine, "logo:1");
    let ssh = Ssh::start(&engine);
    refuses(&ssh.user("stranger", "unknown-key", "no"), "Permission denied", "needs a key that the machine accepts");
    refuses(&ssh.user("careful", "key", "yes"), "Host key verification failed", "known_hosts");
    let mut nobody = ssh.user("lost", "key", "no");
    nobody[0].1 = format!("ssh://127.0.0.1:{}", free());
    refuses(&nobody, "Connection refused", "ssh HOST docker version");
    refuses(&[("DOCKER_HOST", "ssh://-oProxyCommand=x".to_owned())], "names no machine", "ssh://USER@HOST");
    // Reached through another machine, at an address that it does not have: nothing could be published there.
    let jump = ssh.user("jump", "key", "no");
    let settings = ssh.folder.path().join("jump/config");
    let known = fs::read_to_string(&settings).expect("settings");
    let way = format!("Host inner\n  HostName 192.0.2.7\n  ProxyCommand /bin/busybox nc 127.0.0.1 {}\n", ssh.port);
    fs::write(&settings, format!("{way}{known}")).expect("a file");
    let mut far = Host::new();
    far.environment.extend(jump.into_iter().map(|(name, value)| (name.to_owned(), value)));
    far.environment[0].1 = far.environment[0].1.replace(&format!("127.0.0.1:{}", ssh.port), "inner");
    far.start();
    write(&far, "v1");
    let refused = far.davy(&["deploy", "--watch"]);
    assert!(!refused.status.success(), "{}", text(&refused));
    let told = text(&refused) + &text(&far.davy(&["rollout", "explain"]));
    assert!(told.contains("cannot assign requested address") && told.contains("one that it has itself"), "{told}");
    far.down();
    assert!(engine.containers().is_empty(), "{:?}", engine.containers());
    let mut host = Host::new();
    let user = ssh.user("user", "key", "no");
    host.environment.extend(user.into_iter().map(|(name, value)| (name.to_owned(), value)));
    host.start();
    rolls_out(&host, &engine);
    host.down();
    assert!(engine.containers().is_empty());
}

#[test]
fn an_engine_far_away_is_seen_and_its_connections_are_kept() {
    // It writes down what it is asked.
    let engine = Engine::with(vec!["--debug".to_owned()]);
    sample(&engine, "logo:1");
    let ssh = Ssh::start(&engine);
    let mut host = Host::new();
    let user = ssh.user("far", "key", "no");
    // Each connection takes longer than a look may, and is counted.
    let (wrapper, dialed) = (ssh.folder.path().join("far/ssh"), ssh.folder.path().join("dialed"));
    let real = fs::read_to_string(&wrapper).expect("a script").replacen("#!/bin/sh\n", "", 1);
    let slow = format!("#!/bin/sh\ncase \"$*\" in *dial-stdio*) echo >> {}; sleep 2;; esac\n{real}", dialed.display());
    fs::write(&wrapper, slow).expect("a file");
    host.environment.extend(user.into_iter().map(|(name, value)| (name.to_owned(), value)));
    host.start();
    write(&host, "v1");
    let file = host.folder.path().join("davy.yaml");
    let twelve = fs::read_to_string(&file).expect("a file").replace("replicas: 2", "replicas: 12");
    fs::write(&file, twelve.replace("grace: 20s", "grace: 60s")).expect("a file");
    let first = host.davy(&["deploy", "--watch"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    let dials = || fs::read_to_string(&dialed).unwrap_or_default().lines().count();
    host.until("over", |status| status["state"] == "promoted");
    let log = engine.root().with_file_name("log");
    let looks = || fs::read_to_string(&log).unwrap_or_default().matches("/containers/json").count();
    let again = |more: usize| {
        let before = looks();
        host.until("looked at again and again", |_| looks() > before + more);
    };
    again(5);
    let dialed = dials();
    assert!(dialed <= 16, "{dialed} connections for twelve containers");
    // More looks need no new connection.
    again(12);
    assert_eq!(dials(), dialed);
    host.down();
    assert!(engine.containers().is_empty());
}

/// The sample service with `environments`, on any engine.
fn on(host: &Host, version: &str, engine: &str) {
    write(host, version);
    let file = host.folder.path().join("davy.yaml");
    let text = fs::read_to_string(&file).expect("a file");
    // Another way to an engine takes another time.
    let judged = "  analysis: { latency: { not-slower-than: off } }\n";
    fs::write(file, format!("{text}{judged}environments: {{ production: {{ platform: docker{engine} }} }}\n"))
        .expect("a file");
}

#[test]
fn a_service_moves_between_engines_that_its_file_names() {
    let (own, other) = (Engine::start(), Engine::start());
    sample(&own, "logo:1");
    sample(&other, "logo:1");
    let ssh = Ssh::start(&other);
    let mut host = Host::new();
    let user = ssh.user("user", "key", "no");
    let address = user[0].1.clone();
    host.environment.push(("DOCKER_HOST".to_owned(), own.host()));
    host.environment.push(("PATH".to_owned(), user[1].1.clone()));
    host.start();
    on(&host, "v1", "");
    let first = host.davy(&["deploy", "--watch"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    assert_eq!((own.containers().len(), other.containers().len()), (2, 0));
    let load = Load::start(&host.gateway);
    // To the other one, and on there with a server that has to find it again.
    on(&host, "v2", &format!(", engine: \"{address}\""));
    let second = host.davy(&["deploy", "--watch"]);
    assert_eq!(second.status.code(), Some(0), "{}", text(&second));
    host.until("over", |status| status["state"] == "promoted");
    assert_eq!((own.containers().len(), other.containers().len()), (0, 2));
    assert_eq!(host.get(), Some((200, "v2".to_owned())));
    host.kill();
    host.start();
    assert!(text(&host.davy(&["doctor"])).contains(&format!("answers at {address}")), "doctor tells of it");
    on(&host, "v1", "");
    let third = host.davy(&["deploy", "--watch"]);
    assert_eq!(third.status.code(), Some(0), "{}", text(&third));
    host.until("over", |status| status["state"] == "promoted");
    assert_eq!((own.containers().len(), other.containers().len()), (2, 0));
    assert_eq!(host.get(), Some((200, "v1".to_owned())));
    // One that cannot be reached is named, and what serves is left alone.
    on(&host, "v2", &format!(", engine: \"ssh://127.0.0.1:{}\"", free()));
    let refused = host.davy(&["deploy"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert!(text(&refused).contains("ssh://127.0.0.1:") && text(&refused).contains("refused"), "{}", text(&refused));
    assert_eq!(host.get(), Some((200, "v1".to_owned())));
    on(&host, "v2", &format!(", engine: \"{address}\""));
    let last = host.davy(&["deploy", "--watch"]);
    assert_eq!(last.status.code(), Some(0), "{}", text(&last));
    let (sent, failed) = load.stop();
    assert!(sent > 300 && failed == 0, "{failed} of {sent}");
    host.down();
    assert!(own.containers().is_empty() && other.containers().is_empty(), "nothing is left on either");
}
