//! A place in a temporary folder, a service to run in it, and ways to look at the world. Nothing survives it.

use davy_core::{
    EnvironmentName, Generation, Health, HealthCheck, Instance, Millis, Process, Release, Route, Run, ServiceKey,
    ServiceName, Source, Workload,
};
use davy_local::{LocalPlatform, Options};
use davy_ports::{Order, Platform};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// A loaded machine may be slow, and a test that fails may take its time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct House {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) platform: LocalPlatform,
    pub(crate) key: ServiceKey,
    pub(crate) source: Source,
    /// In the environment of everything that the house starts, and nowhere else.
    pub(crate) marker: String,
    generation: std::cell::Cell<u64>,
}

pub(crate) fn key(service: &str) -> ServiceKey {
    ServiceKey {
        service: ServiceName::new(service).expect("a name"),
        environment: EnvironmentName::new("production").expect("a name"),
    }
}

impl House {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let source = Source { folder: folder.path().join("src") };
        fs::create_dir(&source.folder).expect("a source");
        fs::copy(env!("CARGO_BIN_EXE_davy-local-fixture"), source.folder.join("service")).expect("a program");
        fs::write(source.folder.join("data.txt"), "one").expect("a file");
        let platform = open(&folder.path().join("data"));
        let marker = format!("house-{}", folder.path().file_name().expect("a name").to_string_lossy());
        Self { platform, key: key("logo"), source, marker, generation: 0.into(), folder }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn workload(&self, command: &[&str]) -> Workload {
        Workload {
            run: Run::Process(Process {
                command: command.iter().map(|word| (*word).to_owned()).collect(),
                files: vec!["data.txt".to_owned(), "service".to_owned()],
            }),
            env: BTreeMap::from([("HOUSE".to_owned(), self.marker.clone())]),
            secrets: Vec::new(),
            replicas: 1,
            health: HealthCheck {
                path: Some("/healthz".to_owned()),
                grace: Millis::seconds(30),
                interval: Millis(100),
            },
            route: Route { host: None, path: "/".to_owned() },
        }
    }

    pub(crate) fn service(&self) -> Workload {
        self.workload(&["./service", "$PORT"])
    }

    pub(crate) async fn release(&self, workload: Workload) -> Release {
        let prepared = self.platform.prepare(&self.key, &self.source, &workload).await.expect("prepared");
        Release::new(&self.key, prepared.digest, workload)
    }

    pub(crate) fn next(&self) -> Generation {
        self.generation.set(self.generation.get() + 1);
        Generation(self.generation.get())
    }

    pub(crate) fn order(&self, release: &Release, count: u32) -> Order {
        Order { key: self.key.clone(), release: release.clone(), count, spare: Vec::new(), generation: self.next() }
    }

    pub(crate) async fn ensure(&self, release: &Release, count: u32) {
        self.platform.ensure(&self.order(release, count)).await.expect("taken");
    }

    pub(crate) async fn run(&self, workload: Workload) -> (Release, Instance) {
        let release = self.release(workload).await;
        self.ensure(&release, 1).await;
        let instance = self.until("healthy", |instance| instance.health.is_healthy()).await;
        (release, instance)
    }

    pub(crate) async fn observe(&self) -> Vec<Instance> {
        self.platform.observe(&self.key).await.expect("observed")
    }

    /// The first instance, once it is as wanted.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&Instance) -> bool) -> Instance {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.observe().await;
            if let Some(instance) = seen.iter().find(|instance| wanted(instance)) {
                return instance.clone();
            }
            assert!(Instant::now() < deadline, "never {what}: {seen:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn remove(&self, release: &Release, grace: Millis) {
        self.platform.remove(&self.key, &release.id, self.next(), grace).await.expect("removed");
    }

    /// Every process that the house started and that is still there.
    pub(crate) fn processes(&self) -> Vec<i32> {
        with_variable(&format!("HOUSE={}", self.marker))
    }

    /// The shim's process, found by the mark that its instance's processes carry.
    pub(crate) fn shim_of(&self, instance: &Instance) -> Pid {
        let ours = self.processes();
        let marked = with_variable(&format!("DAVY_INSTANCE={}", instance.id));
        let shim = marked.into_iter().find(|pid| !ours.contains(pid)).expect("a shim");
        Pid::from_raw(shim).expect("a number")
    }

    pub(crate) fn kill(&self, pid: Pid) {
        kill_process(pid, Signal::KILL).expect("killed");
    }

    pub(crate) fn assert_nothing_left(&self) {
        assert_eq!(self.processes(), Vec::<i32>::new(), "processes are left");
        for folder in ["instances", "run"] {
            let left: Vec<_> =
                fs::read_dir(self.data().join(folder)).expect("a folder").flatten().map(|e| e.path()).collect();
            assert!(left.is_empty(), "left in {folder}: {left:?}");
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let platform = self.platform.clone();
        // A test that fails leaves nothing either; a runtime of its own, since this may be inside one.
        let stopping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let _ = runtime.block_on(platform.stop_all(Millis(0)));
        });
        let _ = stopping.join();
    }
}

pub(crate) fn open(data: &Path) -> LocalPlatform {
    let shim = PathBuf::from(env!("CARGO_BIN_EXE_davy-local-fixture"));
    LocalPlatform::open(Options { data: data.to_owned(), shim }).expect("a place")
}

fn with_variable(wanted: &str) -> Vec<i32> {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
        })
        .collect()
}

/// Waits for something that is not an instance's state.
pub(crate) async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never so: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The body of an answer; empty when there is none.
pub(crate) fn get(instance: &Instance, path: &str) -> String {
    let mut text = String::new();
    if let Ok(mut socket) = TcpStream::connect(instance.address) {
        let _ = socket.set_read_timeout(Some(PATIENCE));
        let _ = write!(socket, "GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
        let _ = socket.read_to_string(&mut text);
    }
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

pub(crate) fn ended_because(instance: &Instance) -> Option<&str> {
    match &instance.health {
        Health::Ended { why } => Some(why),
        _ => None,
    }
}
