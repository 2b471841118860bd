//! An engine with a folder of its own, images made from nothing but busybox, and a place on it.

use davy_core::{
    Container, Digest, EnvironmentName, Generation, Health, HealthCheck, Instance, Millis, Release, Route, Run,
    ServiceKey, ServiceName, Source, Workload,
};
use davy_docker::{DockerPlatform, Options};
use davy_ports::{Order, Platform};
use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::symlink,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// Ends with the test, and everything on it.
pub(crate) struct Engine {
    daemon: Child,
    folder: tempfile::TempDir,
    /// What its daemon is told besides.
    more: Vec<String>,
    generation: std::cell::Cell<u64>,
}

impl Engine {
    pub(crate) fn start() -> Self {
        Self::with(Vec::new())
    }

    pub(crate) fn with(more: Vec<String>) -> Self {
        Self::within(None, more)
    }

    /// On a disk of its own of so many MiB.
    pub(crate) fn on_disk(mebibytes: u32) -> Self {
        Self::within(Some(mebibytes), Vec::new())
    }

    fn within(mebibytes: Option<u32>, more: Vec<String>) -> Self {
        let folder = tempfile::Builder::new().prefix("davy-engine-").tempdir_in("/tmp").expect("a folder");
        if let Some(size) = mebibytes {
            let root = folder.path().join("root");
            fs::create_dir(&root).expect("a folder");
            let mut mount = Command::new("mount");
            let mounted = mount.args(["-t", "tmpfs", "-o", &format!("size={size}m"), "tmpfs"]).arg(&root).status();
            assert!(mounted.expect("mount runs").success());
        }
        let daemon = daemon(folder.path(), &more);
        let engine = Self { daemon, folder, more, generation: std::cell::Cell::new(0) };
        engine.is_up();
        engine
    }

    fn is_up(&self) {
        let since = Instant::now();
        while !self.docker(&["version"]).status.success() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(since.elapsed() < Duration::from_secs(60), "the engine never answered:\n{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends the engine's daemon and starts it anew.
    pub(crate) fn restart(&mut self) {
        self.end();
        self.daemon = daemon(self.folder.path(), &self.more);
        self.is_up();
    }

    /// Ends the daemon.
    pub(crate) fn end(&mut self) {
        let pid = self.daemon.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        self.daemon.wait().expect("it ended");
    }

    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("s").display())
    }

    /// Docker's own client.
    pub(crate) fn docker(&self, words: &[&str]) -> Output {
        self.docker_with(&[], words)
    }

    fn docker_with(&self, environment: &[(&str, &str)], words: &[&str]) -> Output {
        let mut docker = Command::new("/usr/bin/docker");
        docker.args(["--host", &self.host()]).args(words).envs(environment.iter().copied()).stdin(Stdio::null());
        docker.output().expect("docker runs")
    }

    pub(crate) fn said(&self, words: &[&str]) -> String {
        self.said_with(&[], words)
    }

    pub(crate) fn said_with(&self, environment: &[(&str, &str)], words: &[&str]) -> String {
        let output = self.docker_with(environment, words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// An image with busybox, a page that says `text`, and these changes; a web server unless they say otherwise.
    pub(crate) fn image(&self, name: &str, text: &str, changes: &[&str]) {
        self.image_of(name, &[("www/index.html", text)], changes);
    }

    /// The same with these files.
    pub(crate) fn image_of(&self, name: &str, files: &[(&str, &str)], changes: &[&str]) {
        let root = tempfile::tempdir_in(self.folder.path()).expect("a folder");
        for folder in ["bin", "www"] {
            fs::create_dir(root.path().join(folder)).expect("a folder");
        }
        fs::copy("/bin/busybox", root.path().join("bin/busybox")).expect("a static busybox");
        for applet in ["sh", "httpd", "sleep", "echo", "test"] {
            symlink("busybox", root.path().join("bin").join(applet)).expect("a link");
        }
        files.iter().for_each(|(name, text)| fs::write(root.path().join(name), text).expect("a file"));
        let tar = self.folder.path().join("image.tar");
        let packed = Command::new("tar").arg("-C").arg(root.path()).arg("-cf").arg(&tar).arg(".").status();
        assert!(packed.expect("tar runs").success());
        let serve = r#"CMD ["/bin/httpd","-f","-p","8080","-h","/www"]"#;
        let mut words = vec!["import", "-c", serve];
        changes.iter().for_each(|change| words.extend(["-c", change]));
        let tar = tar.to_str().expect("a plain path").to_owned();
        words.extend([tar.as_str(), name]);
        self.said(&words);
    }

    /// Where everything of it is kept.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn place(&self) -> DockerPlatform {
        DockerPlatform::open(Options::at(self.data(), Some(self.host()))).expect("a place")
    }

    pub(crate) fn next(&self) -> Generation {
        self.generation.set(self.generation.get() + 1);
        Generation(self.generation.get())
    }

    pub(crate) fn order(&self, release: &Release, count: u32) -> Order {
        Order { key: key(), release: release.clone(), count, spare: Vec::new(), generation: self.next() }
    }

    /// Containers of any state, by name.
    pub(crate) fn containers(&self) -> Vec<String> {
        self.said(&["ps", "--all", "--format", "{{.Names}}"]).lines().map(str::to_owned).collect()
    }
}

fn daemon(folder: &std::path::Path, more: &[String]) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).expect("a log");
    let at = |name: &str| folder.join(name).display().to_string();
    let mut dockerd = Command::new("dockerd");
    dockerd.args(["--host", &format!("unix://{}", at("s")), "--data-root", &at("root"), "--exec-root", &at("exec")]);
    dockerd.args(["--pidfile", &at("pid"), "--bridge", "none"]);
    dockerd.args(more);
    dockerd.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
    dockerd.spawn().expect("dockerd runs: scripts/setup installs it")
}

impl Drop for Engine {
    fn drop(&mut self) {
        // After a failed test, too, nothing is to be left.
        let all = self.docker(&["ps", "--all", "--quiet"]);
        for id in String::from_utf8_lossy(&all.stdout).lines() {
            self.docker(&["rm", "--force", "--volumes", id]);
        }
        self.docker(&["network", "prune", "--force"]);
        self.end();
        // What the engine mounted keeps its folder from being removed.
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        let ours = self.folder.path().to_str().unwrap_or_default();
        for path in mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|path| path.starts_with(ours)) {
            Command::new("umount").args(["--lazy", path]).status().ok();
        }
    }
}

pub(crate) fn key() -> ServiceKey {
    ServiceKey {
        service: ServiceName::new("web").expect("a name"),
        environment: EnvironmentName::new("production").expect("a name"),
    }
}

pub(crate) fn container(image: &str) -> Container {
    Container {
        image: image.to_owned(),
        command: Vec::new(),
        port: Some(8080),
        user: None,
        volumes: Vec::new(),
        stop_signal: None,
        cpu: None,
        memory: None,
        engine: None,
    }
}

pub(crate) fn workload(container: Container) -> Workload {
    Workload {
        run: Run::Container(container),
        env: BTreeMap::from([("COLOR".to_owned(), "blue".to_owned())]),
        secrets: Vec::new(),
        replicas: 1,
        health: HealthCheck { path: Some("/".to_owned()), grace: Millis::seconds(30), interval: Millis(100) },
        route: Route { host: None, path: "/".to_owned() },
    }
}

pub(crate) async fn prepared(place: &DockerPlatform, workload: &Workload) -> Result<Digest, davy_ports::Error> {
    let source = Source { folder: "/".into() };
    place.prepare(&key(), &source, workload).await.map(|prepared| prepared.digest)
}

pub(crate) async fn release(place: &DockerPlatform, workload: Workload) -> Release {
    let digest = prepared(place, &workload).await.expect("prepared");
    Release::new(&key(), digest, workload)
}

/// Waits until a service's instances are as they should be.
pub(crate) async fn until(place: &DockerPlatform, what: &str, is: impl Fn(&[Instance]) -> bool) -> Vec<Instance> {
    let since = Instant::now();
    loop {
        let seen = place.observe(&key()).await.expect("the engine answers");
        if is(&seen) {
            return seen;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "never {what}: {seen:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) async fn healthy(place: &DockerPlatform, count: usize) -> Vec<Instance> {
    let all = |seen: &[Instance]| seen.len() == count && seen.iter().all(|one| one.health == Health::Healthy);
    until(place, "healthy", all).await
}

/// The body of `/` at an address.
pub(crate) fn get(address: SocketAddr) -> String {
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    socket.write_all(b"GET / HTTP/1.0\r\nHost: web\r\n\r\n").expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    answer.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned()
}
