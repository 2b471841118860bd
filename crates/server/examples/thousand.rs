//! `benches/api load`: how long lists take where there are a thousand services. A real engine with a real journal and the real API on a
//! socket, in front of a platform and a router in memory; and, in a process of its own, somebody who asks at a steady rate whatever
//! the answers take. A time is counted from when a request was due.

#![expect(clippy::print_stdout, reason = "a command prints its figures")]

#[path = "../../fuzz/src/stub.rs"]
mod stub;

use davy_core::{
    EnvironmentName, HealthCheck, Millis, Policy, Process, Route, Run, ServiceKey, ServiceName, Source, Workload,
};
use davy_engine::{
    Access, Deploy, Engine, KeyFile, Ledger, Ports, Vault,
    store::{Signer, Store},
};
use davy_notify::Notifier;
use davy_ports::{NoSignals, NoVault};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, ExitCode, Stdio},
    sync::Arc,
    time::Duration,
};
use stub::Stub;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::Instant,
};

const TOKEN: &str = "own-token";
/// Requests a second, and the longest that one of a hundred may take, in milliseconds.
const RATE: u32 = 500;
const MOST_MS: f64 = 10.0;
/// Connections over which the requests go.
const CONNECTIONS: usize = 32;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, usual: u32| words.get(at).and_then(|word| word.parse().ok()).unwrap_or(usual);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match words.first().map(String::as_str) {
        Some("serve") => {
            runtime.block_on(serve(number(1, 1_000)));
            ExitCode::SUCCESS
        }
        _ => runtime.block_on(measure(number(0, 1_000), number(1, 20))),
    }
}

fn key(number: u32) -> ServiceKey {
    ServiceKey {
        service: ServiceName::new(format!("service-{number}")).expect("a name"),
        environment: EnvironmentName::new("production").expect("a name"),
    }
}

fn deployment(number: u32) -> Deploy {
    let key = key(number);
    let run = Run::Process(Process {
        command: vec!["./service".to_owned(), format!("--number={number}")],
        files: Vec::new(),
    });
    let health =
        HealthCheck { path: Some("/healthz".to_owned()), grace: Millis::seconds(10), interval: Millis::seconds(1) };
    let route = Route { host: Some(format!("{}.example.com", key.service)), path: "/".to_owned() };
    let workload = Workload { run, env: Default::default(), secrets: Vec::new(), replicas: 2, health, route };
    let policy = Policy { bake: Millis(0), drain: Millis(0), hold: Millis(0), ..Policy::default() };
    Deploy { key, source: Source { folder: "/".into() }, workload, policy, by: Engine::actor() }
}

/// Serves until its input ends.
async fn serve(services: u32) {
    let folder = tempfile::tempdir().expect("a folder");
    let (engine, options) = open(folder.path()).await;
    for number in 0..services {
        engine.deploy(deployment(number)).await.expect("nothing is in the way");
    }
    while engine.live().iter().any(|live| live.state.stable.is_none()) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("{}", options.listener.local_addr().expect("an address"));
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().lines().count());
    davy_server::serve(engine, options, async { drop(ended.await) }, |_| std::future::ready(Ok(())))
        .await
        .expect("it serves");
}

async fn open(folder: &Path) -> (Arc<Engine>, davy_server::Options) {
    let journal = Store::open(&folder.join("journal.db")).await.expect("a journal");
    let ledger = Arc::new(Ledger::open(journal.clone()).await.expect("a ledger"));
    let vault = Arc::new(Vault::open(ledger.clone(), KeyFile::own(folder.join("secrets.key"))).expect("a vault"));
    let signer = Signer::open(&KeyFile::own(folder.join("checkpoint.key")), &folder.join("checkpoint.pub"));
    let stub = Arc::new(Stub::default());
    let ports = Ports {
        journal: Arc::new(journal.clone()),
        platform: stub.clone(),
        router: stub.clone(),
        telemetry: stub.clone(),
        signals: Arc::new(NoSignals),
        reports: folder.join("reports"),
    };
    let engine = Arc::new(Engine::start(ports).await.expect("an engine"));
    let told = Arc::new(journal.clone());
    let notifier = Notifier::start(told, stub, Arc::new(NoVault), engine.written(), davy_notify::Options::default());
    let options = davy_server::Options {
        reached: davy_server::Reached { url: "http://127.0.0.1".to_owned(), proxied: false },
        identity: None,
        access: Arc::new(Access::new(ledger, TOKEN)),
        listener: TcpListener::bind("127.0.0.1:0").await.expect("a port"),
        tls: None,
        known_as: Arc::new(|_: &str| false),
        vault,
        notifier: Arc::new(notifier),
        journal: (journal, Arc::new(signer.expect("a signer"))),
    };
    (engine, options)
}

/// Starts a server of its own and asks it.
async fn measure(services: u32, seconds: u32) -> ExitCode {
    let exe = std::env::current_exe().expect("itself");
    let mut server = Command::new(exe)
        .args(["serve", &services.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a server");
    let mut address = String::new();
    BufReader::new(server.stdout.take().expect("piped")).read_line(&mut address).expect("an address");
    let address = address.trim();
    let (mut worst, mut figures) = (0.0_f64, Vec::new());
    for (name, path) in [
        ("services_page", "/api/services"),
        ("services_all", "/api/services?limit=1000"),
        ("rollouts_page", "/api/rollouts"),
    ] {
        let (bytes, mut times) = ask(address, path, RATE * seconds).await;
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
        println!(
            "{path}: {} requests at {RATE}/s of {bytes} bytes: p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, at most {:.2} ms",
            times.len(),
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0)
        );
        worst = worst.max(at(0.99));
        figures.push(format!("{name}_p99_ms={:.2}", at(0.99)));
    }
    server.stdin.take().expect("piped").flush().ok();
    server.wait().expect("it ends");
    println!("services={services} rate={RATE} {} (at most {MOST_MS})", figures.join(" "));
    if worst <= MOST_MS { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Asks so many times, each when it is due; the size of an answer, and how long each took from when it was due, in milliseconds.
async fn ask(address: &str, path: &str, requests: u32) -> (usize, Vec<f64>) {
    let (due, waiting) = mpsc::unbounded_channel::<Instant>();
    let waiting = Arc::new(tokio::sync::Mutex::new(waiting));
    let askers: Vec<_> =
        (0..CONNECTIONS).map(|_| tokio::spawn(asker(address.to_owned(), path.to_owned(), waiting.clone()))).collect();
    let begin = Instant::now() + Duration::from_millis(200);
    for number in 0..requests {
        let at = begin + Duration::from_secs(1) * number / RATE;
        tokio::time::sleep_until(at).await;
        due.send(at).expect("somebody asks");
    }
    drop(due);
    let (mut bytes, mut times) = (0, Vec::new());
    for asker in askers {
        let (size, took) = asker.await.expect("it asks");
        bytes = bytes.max(size);
        times.extend(took);
    }
    (bytes, times)
}

async fn asker(
    address: String,
    path: String,
    waiting: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Instant>>>,
) -> (usize, Vec<f64>) {
    let socket = TcpStream::connect(&address).await.expect("it listens");
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.expect("it speaks HTTP");
    tokio::spawn(connection);
    let (mut bytes, mut times) = (0, Vec::new());
    loop {
        let Some(due) = waiting.lock().await.recv().await else { return (bytes, times) };
        let request = Request::get(&path)
            .header(header::HOST, &address)
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
            .body(Empty::<Bytes>::new())
            .expect("a request");
        let response = sender.send_request(request).await.expect("an answer");
        assert_eq!(response.status(), 200);
        bytes = response.into_body().collect().await.expect("a whole answer").to_bytes().len();
        times.push(due.elapsed().as_secs_f64() * 1_000.0);
    }
}
