//! Several servers on one journal: one works, the others wait and take over, and nobody's request fails for it.

use crate::{
    host::{Host, Load, text},
    network::Network,
    postgres::Server,
    sessions,
};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::Duration,
};

const QUICK: &str = "rollout:\n  canary: { steps: [50%, 100%], hold: 3s, deadline: 60s }\n  drain: 1s\n  bake: 1s\n";

/// What shows a process another time, where Debian puts it.
const FAKETIME: [&str; 2] =
    ["/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1"];

/// One server of several.
struct One {
    child: Child,
    lines: mpsc::Receiver<Value>,
}

impl One {
    fn start(host: &Host, database: &str) -> Self {
        Self::with(host, database, &[])
    }

    /// One whose wall clock differs by this, such as `+10m`.
    fn at_a_time(host: &Host, database: &str, time: &str) -> Self {
        let library = FAKETIME.iter().find(|path| Path::new(path).exists()).expect("faketime is installed");
        let environment = [("LD_PRELOAD", *library), ("FAKETIME", time), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
        Self::with(host, database, &environment)
    }

    fn with(host: &Host, database: &str, environment: &[(&str, &str)]) -> Self {
        let data = host.data();
        let data = data.to_str().expect("a plain path");
        let ports = ["--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0"];
        let mut command = host.command(&["up", "--json", "--data", data, "--database", database]);
        command.envs(environment.iter().copied());
        let mut child = command.args(ports).stdout(Stdio::piped()).spawn().expect("davy runs");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                sender.send(serde_json::from_str(&line).expect("JSON")).ok();
            }
        });
        Self { child, lines }
    }

    /// The next thing it says, which is to be this.
    fn says(&self, what: &str) -> Value {
        let said = self.lines.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("it never says {what}"));
        assert_eq!(said["type"], what, "{said}");
        said
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    fn ended(&mut self) -> ExitStatus {
        self.child.wait().expect("it ended")
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn url(said: &Value) -> String {
    said["url"].as_str().expect("an address").to_owned()
}

/// A folder with a service that serves v1, and the server that works.
fn serving(database: &str) -> (Host, One, Value) {
    serving_with(database, &[])
}

fn serving_with(database: &str, environment: &[(&str, &str)]) -> (Host, One, Value) {
    let mut host = Host::new();
    let first = One::with(&host, database, environment);
    let ready = first.says("ready");
    host.gateway = ready["gateway"].as_str().expect("its address").trim_start_matches("http://").to_owned();
    host.write("v1", QUICK);
    let deployed = host.davy(&["deploy", "--watch"]);
    assert_eq!(deployed.status.code(), Some(0), "{}", text(&deployed));
    (host, first, ready)
}

fn promoted(host: &Host, version: &str) {
    host.until("promoted", |status| status["state"] == "promoted");
    assert_eq!(host.get(), Some((200, version.to_owned())));
}

fn down(host: &Host) {
    let data = host.data();
    let output = host.davy(&["down", "--data", data.to_str().expect("a plain path")]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn one_that_waits_passes_on_what_it_is_asked_and_takes_over_from_one_that_was_killed() {
    let postgres = Server::start();
    let database = postgres.database();
    let (host, mut first, ready) = serving(&database);
    let mut second = One::start(&host, &database);
    let waiting = second.says("waiting");
    assert_eq!(waiting["behind"], ready["url"]);
    let load = Load::start(&host.gateway);
    // What is asked of the one that waits is done by the other, its answers come back as they are, and so do its refusals.
    let at = url(&waiting);
    let token = ready["token_file"].as_str().expect("a path");
    let by_second = ["--server", &at, "--token-file", token];
    host.write("v2", QUICK);
    let deployed = host.davy(&[&["deploy"][..], &by_second].concat());
    assert_eq!(deployed.status.code(), Some(0), "{}", text(&deployed));
    let listed = text(&host.davy(&[&["service", "list"][..], &by_second].concat()));
    assert!(listed.contains("logo"), "{listed}");
    fs::write(host.folder.path().join("wrong"), "nobody").expect("a file");
    let refused = host.davy(&["service", "list", "--server", &at, "--token-file", "wrong"]);
    assert_eq!(refused.status.code(), Some(7), "{}", text(&refused));

    // A browser signs in and acts by way of it as well, and no other page does.
    let signed = sessions::sign_in(&at, &serde_json::json!({ "code": sessions::code(&host, &[]) }));
    let cookie = signed.cookie();
    let act = |origin: &str| {
        let headers = [sessions::PAGE, ("cookie", &*cookie), ("origin", origin)];
        sessions::ask(&at, "POST", "/api/session/codes", &headers, "{}").status
    };
    assert_eq!((act(&at), act("http://evil.example.com"), act(&url(&ready))), (200, 403, 403));

    host.until("on trial", |status| status["state"] == "holding");
    let watching = host.command(&["rollout", "watch"]).stdout(Stdio::piped()).spawn();
    let mut watching = watching.expect("davy runs");
    let mut lines = BufReader::new(watching.stdout.take().expect("piped")).lines();
    lines.next().expect("a line").expect("it is followed");
    first.child.kill().expect("it is ours");
    first.ended();
    assert_eq!(url(&second.says("ready")), at, "at the address that it had");
    assert_eq!(sessions::act(&at, &cookie, "GET", "/api/session").status, 200, "whoever is signed in stays so");
    promoted(&host, "v2");
    let told: Vec<_> = lines.map_while(Result::ok).collect();
    assert_eq!(watching.wait().expect("it ends").code(), Some(0), "it is followed to its end: {told:?}");

    // One that ends by itself is followed at once, and by one that waits only.
    let third = One::start(&host, &database);
    third.says("waiting");
    second.signal("-TERM");
    assert!(second.ended().success());
    third.says("ready");
    let (sent, failed) = load.stop();
    assert!(sent > 500 && failed == 0, "{failed} of {sent}");
    assert!(host.davy(&["audit", "verify", "--data", host.data().to_str().expect("a path")]).status.success());
    // All end, and none takes over from the one that is told to stop everything.
    let mut fourth = One::start(&host, &database);
    fourth.says("waiting");
    down(&host);
    let mut third = third;
    assert!(third.ended().success() && fourth.ended().success());
    assert!(fourth.lines.try_recv().is_err(), "it never worked");
    host.down();
}

#[test]
fn one_that_hangs_loses_its_place_writes_nothing_any_more_and_waits() {
    let postgres = Server::start();
    let database = postgres.database();
    let (host, first, _) = serving(&database);
    let second = One::start(&host, &database);
    second.says("waiting");
    let load = Load::start(&host.gateway);
    host.write("v2", QUICK);
    assert!(host.davy(&["deploy"]).status.success());
    host.until("on trial", |status| status["state"] == "holding");
    first.signal("-STOP");
    let ready = second.says("ready");
    promoted(&host, "v2");
    first.signal("-CONT");
    assert_eq!(first.says("waiting")["behind"], ready["url"]);
    // It stands by as well as any other.
    host.write("v1", QUICK);
    assert!(host.davy(&["deploy"]).status.success());
    host.until("on trial", |status| status["state"] == "holding" || status["state"] == "shifting");
    drop(second);
    first.says("ready");
    promoted(&host, "v1");
    let (sent, failed) = load.stop();
    assert!(sent > 500 && failed == 0, "{failed} of {sent}");
    assert!(host.davy(&["audit", "verify", "--data", host.data().to_str().expect("a path")]).status.success());
    down(&host);
    drop(first);
    host.down();
}

#[test]
fn what_runs_in_one_folder_is_not_looked_after_from_another() {
    let postgres = Server::start();
    let database = postgres.database();
    let (host, first, _) = serving(&database);
    let other = Host::new();
    let data = other.data();
    let words = ["up", "--data", data.to_str().expect("a path"), "--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0"];
    let refused = other.davy(&[&words[..], &["--database", &database]].concat());
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    let name = fs::read_to_string(host.data().join("name")).expect("a name");
    assert!(text(&refused).contains("D041") && text(&refused).contains(name.trim()), "{}", text(&refused));
    down(&host);
    drop(first);
    host.down();
}

#[test]
fn servers_whose_clocks_differ_by_minutes_follow_each_other_without_a_leap() {
    let postgres = Server::start();
    let database = postgres.database();
    let (host, first, _) = serving(&database);
    let ahead = One::at_a_time(&host, &database, "+10m");
    ahead.says("waiting");
    let load = Load::start(&host.gateway);
    host.write("v2", QUICK);
    assert!(host.davy(&["deploy"]).status.success());
    host.until("on trial", |status| status["state"] == "holding");
    drop(first);
    ahead.says("ready");
    // Ten minutes later its step's deadline would be over, and the rollout would wait for a person.
    promoted(&host, "v2");
    let behind = One::at_a_time(&host, &database, "-10m");
    behind.says("waiting");
    host.write("v1", QUICK);
    assert!(host.davy(&["deploy"]).status.success());
    host.until("on trial", |status| status["state"] == "holding");
    drop(ahead);
    behind.says("ready");
    promoted(&host, "v1");
    let (sent, failed) = load.stop();
    assert!(sent > 500 && failed == 0, "{failed} of {sent}");
    let told = host.davy(&["rollout", "explain", "--json"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let times: Vec<u64> =
        told.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()?["at"].as_u64()).collect();
    assert!(times.len() > 5 && times.is_sorted(), "{told}");
    assert!(times[times.len() - 1] - times[0] < 300_000, "{told}");
    down(&host);
    drop(behind);
    host.down();
}

#[test]
fn one_that_is_cut_off_from_the_database_is_followed_and_when_all_are_nothing_is_lost() {
    let network = Network::new(2);
    let postgres = Server::start_in(&network.name);
    postgres.database();
    let database = "postgres:///d0?user=davy";
    let (by_first, by_second) = (network.reached(0), network.reached(1));
    let (host, first, _) = serving_with(database, &[("PGHOST", &by_first)]);
    let second = One::with(&host, database, &[("PGHOST", &by_second)]);
    second.says("waiting");
    let load = Load::start(&host.gateway);
    host.write("v2", QUICK);
    assert!(host.davy(&["deploy"]).status.success());
    host.until("on trial", |status| status["state"] == "holding");
    // The first one lives on and looks after traffic, and cannot know whether it is the one that works.
    network.cut(0);
    let ready = second.says("ready");
    promoted(&host, "v2");
    network.mend(0);
    assert_eq!(first.says("waiting")["behind"], ready["url"]);
    // Nobody reaches it: nothing advances, and traffic goes on.
    host.write("v1", QUICK);
    assert!(host.davy(&["deploy"]).status.success());
    host.until("on trial", |status| status["state"] == "holding");
    (0..2).for_each(|line| network.cut(line));
    host.until("nothing can be written", |status| !status["stuck"].is_null());
    (0..2).for_each(|line| network.mend(line));
    promoted(&host, "v1");
    let (sent, failed) = load.stop();
    assert!(sent > 500 && failed == 0, "{failed} of {sent}");
    let looked = One::with(&host, database, &[("PGHOST", &by_first)]);
    looked.says("waiting");
    down(&host);
    drop((first, second, looked));
    host.down();
}
