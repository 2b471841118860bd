//! A gateway is killed, alone or with the server, and nobody who comes then is refused.

use crate::host::{Host, gateway_of, text};
use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

const SLOW: &str = "rollout:\n  canary: { steps: [20%, 100%], hold: 50s, deadline: 60s }\n  drain: 2s\n  bake: 60s\n";

/// Clients that make a connection for each request.
#[derive(Clone, Default)]
struct Load {
    answered: Arc<AtomicU64>,
    /// Kills begun, and those after which the gateway was seen to be gone.
    begun: Arc<AtomicU64>,
    done: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
    failed: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

impl Load {
    fn start(address: &str) -> (Self, Vec<JoinHandle<()>>) {
        let load = Self::default();
        let clients = (0..4).map(|_| {
            let (load, address) = (load.clone(), address.to_owned());
            std::thread::spawn(move || load.run(&address))
        });
        let clients = clients.collect();
        (load, clients)
    }

    fn run(&self, address: &str) {
        while !self.stop.load(SeqCst) {
            let done = self.done.load(SeqCst);
            let why = match TcpStream::connect(address) {
                Err(error) => format!("no connection: {error}"),
                Ok(socket) => match asked(socket, address) {
                    Ok(answer) if answer.starts_with("HTTP/1.1 200") => {
                        self.answered.fetch_add(1, SeqCst);
                        continue;
                    }
                    // It was taken by a gateway that was killed then.
                    Ok(answer) if answer.is_empty() && self.begun.load(SeqCst) > done => {
                        self.lost.fetch_add(1, SeqCst);
                        continue;
                    }
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset && self.begun.load(SeqCst) > done => {
                        self.lost.fetch_add(1, SeqCst);
                        continue;
                    }
                    Ok(answer) => format!("answered {answer:?}"),
                    Err(error) => error.to_string(),
                },
            };
            self.failed.lock().expect("no panic").push(why);
        }
    }

    fn more(&self) {
        let before = self.answered.load(SeqCst);
        until("there is load", || self.answered.load(SeqCst) > before + 100);
    }

    /// Kills the gateway, and waits until it is gone and its porter knows.
    fn kill_gateway(&self, host: &Host) {
        let gateway = gateway_of(&host.data());
        self.begun.fetch_add(1, SeqCst);
        kill(gateway);
        until("the gateway is gone", || !std::path::Path::new(&format!("/proc/{gateway}")).exists());
        self.done.fetch_add(1, SeqCst);
    }

    /// Ends it: how many were under way on a gateway that was killed. Nothing else may have failed.
    fn end(self, clients: Vec<JoinHandle<()>>) -> u64 {
        self.stop.store(true, SeqCst);
        clients.into_iter().for_each(|client| client.join().expect("it counts"));
        let failed = self.failed.lock().expect("no panic");
        assert!(failed.is_empty(), "{failed:?}");
        self.lost.load(SeqCst)
    }
}

fn asked(mut socket: TcpStream, address: &str) -> io::Result<String> {
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    socket.write_all(format!("GET /version HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}

fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill runs").success());
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is() {
        assert!(since.elapsed() < Duration::from_secs(60), "never {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_gateway_killed_in_mid_rollout_refuses_no_new_connection_with_and_without_a_server() {
    let mut host = Host::up();
    host.write("v1", SLOW);
    let output = host.davy(&["deploy", "--watch"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    host.write("v2", SLOW);
    assert!(host.davy(&["deploy"]).status.success());
    let observed = |status: &serde_json::Value| status["state"] == "holding" && !status["weight"]["observed"].is_null();
    let address = host.gateway.clone();
    let (load, clients) = Load::start(&address);
    host.until("holding", observed);
    load.more();
    load.kill_gateway(&host);
    load.more();
    // Both at once.
    host.kill();
    load.kill_gateway(&host);
    load.more();
    load.kill_gateway(&host);
    load.more();
    host.start();
    assert_eq!(host.gateway, address);
    host.until("holding again", observed);
    load.more();
    // At most one of each client for each kill.
    let lost = load.end(clients);
    assert!(lost <= 12, "{lost} were lost");
    let told = text(&host.davy(&["rollout", "explain", "--json"]));
    assert!(told.contains("router-restarted"), "{told}");
    host.down();
    TcpListener::bind(&address).expect("nothing holds the port");
}

#[test]
fn a_gateway_that_was_killed_a_moment_ago_is_stopped_for_good() {
    for is_alone in [false, true] {
        let mut host = Host::up();
        let address = host.gateway.clone();
        if is_alone {
            host.kill();
        }
        kill(gateway_of(&host.data()));
        host.down();
        TcpListener::bind(&address).expect("nothing holds the port");
    }
}
