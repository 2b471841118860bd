//! Between the server and its gateway is a line that stalls, is cut, or is closed by half: rollouts go on when it is well again, and
//! traffic is back by the lease when it is not.

use crate::host::{Host, Load, text};
use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::Shutdown,
    os::unix::{
        fs::DirBuilderExt,
        net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    process::Child,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::{Duration, Instant},
};

const QUICK: &str = "rollout:\n  canary: { steps: [50%, 100%], hold: 3s, deadline: 3m }\n  drain: 1s\n  bake: 1s\n";
const SLOW: &str = "rollout:\n  canary: { steps: [50%, 100%], hold: 50s, deadline: 60s }\n  drain: 1s\n  bake: 60s\n";

/// How the line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Well,
    /// Nothing passes; what was sent arrives when it is well again.
    Stalled,
    /// Every connection ends at once.
    Cut,
    /// The gateway is heard to end its side, and hears everything.
    Mute,
    /// The server is heard to end its side, and hears nothing.
    Deaf,
}

#[derive(Default)]
struct Connections {
    line: Option<Line>,
    made: u64,
    /// The server's end and the gateway's.
    open: BTreeMap<u64, [UnixStream; 2]>,
}

impl Connections {
    fn line(&self) -> Line {
        self.line.unwrap_or(Line::Well)
    }
}

/// The control socket that the server knows, in front of the gateway's own.
#[derive(Clone)]
struct Relay {
    gateway: PathBuf,
    connections: Arc<(Mutex<Connections>, Condvar)>,
}

impl Relay {
    fn start(server: PathBuf, gateway: PathBuf) -> Self {
        let listener = UnixListener::bind(server).expect("a socket");
        let relay = Self { gateway, connections: Arc::default() };
        let accepting = relay.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                accepting.take(socket.expect("a connection"));
            }
        });
        relay
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.0.lock().expect("no panic")
    }

    /// Also for connections that are open.
    fn set(&self, line: Line) {
        let mut connections = self.connections();
        connections.line = Some(line);
        connections.open.values().for_each(|ends| be(line, ends));
        self.connections.1.notify_all();
    }

    fn take(&self, server: UnixStream) {
        let Ok(gateway) = UnixStream::connect(&self.gateway) else { return };
        let ends = [server, gateway];
        let [towards_gateway, towards_server] = [[0, 1], [1, 0]].map(|way| way.map(|end: usize| clone(&ends[end])));
        let number = {
            let mut connections = self.connections();
            be(connections.line(), &ends);
            connections.made += 1;
            let number = connections.made;
            connections.open.insert(number, ends);
            number
        };
        let (back, relay) = (self.clone(), self.clone());
        std::thread::spawn(move || {
            let backwards = std::thread::spawn(move || back.pump(towards_server));
            relay.pump(towards_gateway);
            backwards.join().expect("no panic");
            relay.connections().open.remove(&number);
        });
    }

    /// Passes on what comes until it ends. What has been ended by a half stays so.
    fn pump(&self, [mut from, mut to]: [UnixStream; 2]) {
        let mut bytes = [0; 4096];
        loop {
            let length = from.read(&mut bytes).unwrap_or(0);
            // An end does not pass either.
            let stalled = |connections: &mut Connections| connections.line() == Line::Stalled;
            drop(self.connections.1.wait_while(self.connections(), stalled).expect("no panic"));
            if length == 0 {
                break;
            }
            to.write_all(&bytes[..length]).ok();
        }
        to.shutdown(Shutdown::Write).ok();
    }
}

fn clone(socket: &UnixStream) -> UnixStream {
    socket.try_clone().expect("a descriptor")
}

fn be(line: Line, [server, gateway]: &[UnixStream; 2]) {
    match line {
        Line::Well | Line::Stalled => {}
        Line::Cut => [server, gateway].iter().for_each(|end| drop(end.shutdown(Shutdown::Both))),
        Line::Mute => drop(server.shutdown(Shutdown::Write)),
        Line::Deaf => drop(gateway.shutdown(Shutdown::Write)),
    }
}

/// A server whose gateway is at the other end of a relay, with a version that serves.
struct Stage {
    host: Host,
    relay: Relay,
    gateway: Child,
}

impl Stage {
    fn new(file: &str) -> Self {
        let mut host = Host::new();
        let (run, control) = (host.data().join("run"), host.folder.path().join("gateway.sock"));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&run).expect("a folder");
        let state = host.data().join("gateway");
        let path = |path: &PathBuf| path.to_str().expect("a plain path").to_owned();
        let words = ["gateway", "--listen", "127.0.0.1:0", "--control", &path(&control), "--state", &path(&state)];
        let gateway = host.command(&words).spawn().expect("davy runs");
        let relay = Relay::start(run.join("gateway.sock"), control);
        host.start_with(&["--gateway-apart"]);
        let stage = Self { host, relay, gateway };
        stage.host.write("v1", file);
        let output = stage.host.davy(&["deploy", "--watch"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        stage
    }

    fn deploy(&self, version: &str, file: &str) {
        self.host.write(version, file);
        let output = self.host.davy(&["deploy"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        self.host.until("on trial", |status| status["state"] == "holding" && !status["weight"]["observed"].is_null());
    }

    /// Waits until the server says that it does not see its gateway.
    fn unseen(&self) {
        let status = self.host.until("without its gateway", |status| {
            status["router"].as_str().is_some_and(|router| !router.is_empty() && router != "serves the split")
        });
        assert!(status["outcome"].is_null(), "{status:#}");
    }

    /// Waits until a version alone answers.
    fn alone(&self, version: &str) {
        let since = Instant::now();
        let mut row = 0;
        while row < 60 {
            let answer = self.host.get();
            row = if answer == Some((200, version.to_owned())) { row + 1 } else { 0 };
            assert!(since.elapsed() < Duration::from_secs(60), "{version} is never alone: {answer:?}");
        }
    }

    fn down(mut self) {
        self.host.down();
        assert!(self.gateway.wait().expect("it is ours").success());
    }
}

#[test]
fn a_rollout_goes_on_when_the_line_is_well_again() {
    let stage = Stage::new(QUICK);
    let load = Load::start(&stage.host.gateway);
    for (version, lines) in [("v2", [Line::Stalled, Line::Mute]), ("v1", [Line::Cut, Line::Deaf])] {
        stage.deploy(version, QUICK);
        for line in lines {
            stage.relay.set(line);
            stage.unseen();
            stage.relay.set(Line::Well);
            stage.host.until(&format!("well after {line:?}"), |status| status["router"] == "serves the split");
        }
        stage.host.until("promoted", |status| status["state"] == "promoted");
        stage.alone(version);
    }
    let (sent, failed) = load.stop();
    assert!(sent > 500 && failed == 0, "{failed} of {sent}");
    assert!(stage.host.davy(&["audit", "verify"]).status.success());
    stage.down();
}

#[test]
fn a_line_that_stays_away_in_a_trial_gives_stable_everything_and_the_rollout_begins_its_step_anew() {
    let stage = Stage::new(QUICK);
    let load = Load::start(&stage.host.gateway);
    stage.deploy("v2", QUICK);
    stage.relay.set(Line::Stalled);
    stage.unseen();
    // Nobody but the lease does that.
    stage.alone("v1");
    assert!(stage.host.status()["outcome"].is_null());
    stage.relay.set(Line::Well);
    stage.host.until("promoted", |status| status["state"] == "promoted");
    stage.alone("v2");
    let told = text(&stage.host.davy(&["rollout", "explain", "--json"]));
    assert!(told.contains("lease-lapsed"), "{told}");
    let (sent, failed) = load.stop();
    assert!(sent > 500 && failed == 0, "{failed} of {sent}");
    stage.down();
}

#[test]
fn an_abort_that_cannot_reach_the_gateway_ends_in_traffic_back_by_the_lease() {
    let stage = Stage::new(SLOW);
    let load = Load::start(&stage.host.gateway);
    stage.deploy("v2", SLOW);
    stage.relay.set(Line::Stalled);
    let aborted = stage.host.davy(&["rollout", "abort"]);
    assert!(aborted.status.success(), "{}", text(&aborted));
    stage.alone("v1");
    // What was sent before arrives now, and gives the canary nothing.
    stage.relay.set(Line::Well);
    stage.host.until("aborted", |status| {
        assert_eq!(stage.host.get(), Some((200, "v1".to_owned())));
        status["state"] == "aborted"
    });
    stage.alone("v1");
    let (sent, failed) = load.stop();
    assert!(sent > 500 && failed == 0, "{failed} of {sent}");
    stage.down();
}
