//! One server in a folder of its own, and what is needed to use it from outside.

use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

pub(crate) const DAVY: &str = env!("CARGO_BIN_EXE_davy");

/// A machine with nothing on it but a folder; everything in it ends with the test.
pub(crate) struct Host {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) gateway: String,
    /// Where its server is.
    pub(crate) url: String,
    /// What its commands find in their environment besides.
    pub(crate) environment: Vec<(String, String)>,
    /// Where its gateway is to listen.
    pub(crate) listen: String,
    /// Where its server's log goes, if not to the test's own output.
    pub(crate) log: Option<PathBuf>,
    server: Option<Child>,
}

impl Host {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("davy-").tempdir_in("/tmp").expect("a folder");
        Self {
            folder,
            gateway: String::new(),
            url: String::new(),
            environment: Vec::new(),
            listen: "127.0.0.1:0".to_owned(),
            log: None,
            server: None,
        }
    }

    pub(crate) fn up() -> Self {
        let mut host = Self::new();
        host.start();
        host
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("d")
    }

    /// A command with this host's folders.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(DAVY);
        command.args(words).current_dir(self.folder.path()).env("HOME", self.folder.path());
        command.env("XDG_STATE_HOME", self.folder.path().join("s")).env_remove("DAVY_SERVER").stdin(Stdio::null());
        command.envs(self.environment.iter().cloned());
        command
    }

    pub(crate) fn davy(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("davy runs")
    }

    /// A command that reads something from its standard input.
    pub(crate) fn davy_reads(&self, words: &[&str], input: &str) -> Output {
        let mut command = self.command(words);
        let mut running =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("davy runs");
        running.stdin.take().expect("piped").write_all(input.as_bytes()).ok();
        running.wait_with_output().expect("it ends")
    }

    /// Starts the server, again if need be.
    pub(crate) fn start(&mut self) -> Value {
        self.start_with(&[])
    }

    /// Starts the server, told these words as well.
    pub(crate) fn start_with(&mut self, words: &[&str]) -> Value {
        let data = self.data();
        let data = data.to_str().expect("a plain path");
        let listen = if words.contains(&"--listen") { &[][..] } else { &["--listen", "127.0.0.1:0"] };
        let mut command = self.command(&["up", "--json", "--data", data, "--gateway", &self.listen]);
        command.args(listen).args(words);
        if let Some(log) = &self.log {
            command.stderr(fs::File::create(log).expect("a file"));
        }
        let mut server = command.stdout(Stdio::piped()).spawn().expect("davy runs");
        let mut line = String::new();
        BufReader::new(server.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        self.server = Some(server);
        let ready: Value = serde_json::from_str(&line).expect("the ready line is JSON");
        assert_eq!(ready["type"], "ready");
        let gateway = ready["gateway"].as_str().expect("its address");
        self.url = ready["url"].as_str().expect("its address").to_owned();
        self.gateway = gateway.trim_start_matches("http://").replace("0.0.0.0", "127.0.0.1");
        ready
    }

    /// What its server answers to a request with the admin's token.
    pub(crate) fn post(&self, path: &str, body: &str) -> (u16, Value) {
        let token = fs::read_to_string(self.data().join("token")).expect("a token");
        let (status, answer) = crate::tokens::ask(&self.url, token.trim(), "POST", path, body);
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")))
    }

    /// Kills the server without a warning.
    pub(crate) fn kill(&mut self) {
        let mut server = self.server.take().expect("a server");
        server.kill().expect("it is ours");
        server.wait().expect("it ended");
    }

    /// Waits for a server that was told to end.
    pub(crate) fn ended(&mut self) {
        self.server.take().expect("a server").wait().expect("it ended");
    }

    pub(crate) fn write(&self, version: &str, rest: &str) {
        let text = format!(
            "service: logo\ncommand: '\"{DAVY}\" logo --port $PORT --version {version}'\n\
             health: {{ path: /healthz, grace: 5s, interval: 500ms }}\n{rest}"
        );
        fs::write(self.folder.path().join("davy.yaml"), text).expect("a file");
    }

    pub(crate) fn status(&self) -> Value {
        let output = self.davy(&["rollout", "status", "--json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// Waits until the rollout is as it should be.
    pub(crate) fn until(&self, what: &str, mut is: impl FnMut(&Value) -> bool) -> Value {
        let since = Instant::now();
        loop {
            let status = self.status();
            if is(&status) {
                return status;
            }
            assert!(since.elapsed() < Duration::from_secs(60), "never {what}: {status:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The status and the version that answered.
    pub(crate) fn get(&self) -> Option<(u16, String)> {
        Self::ask(&self.gateway)
    }

    /// The same of another address.
    pub(crate) fn ask(address: &str) -> Option<(u16, String)> {
        get(&mut TcpStream::connect(address).ok()?, address, "/version")
    }

    /// Processes that belong to this host.
    pub(crate) fn processes(&self) -> Vec<String> {
        let mark = self.folder.path().to_str().expect("a plain path").to_owned();
        let read = |path: PathBuf| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "));
        let all = fs::read_dir("/proc").expect("proc").flatten().map(|entry| entry.path());
        let ours = all.filter_map(|process| {
            let words = read(process.join("cmdline")).ok()?;
            let environment = read(process.join("environ")).unwrap_or_default();
            let is_test = process.file_name()?.to_str()? == std::process::id().to_string();
            (!is_test && !words.is_empty() && (words.contains(&mark) || environment.contains(&mark))).then_some(words)
        });
        ours.collect()
    }

    /// Stops everything and sees to it that nothing is left.
    pub(crate) fn down(mut self) {
        let data = self.data();
        let output = self.davy(&["down", "--data", data.to_str().expect("a plain path")]);
        assert!(output.status.success(), "{}", text(&output));
        if let Some(mut server) = self.server.take() {
            server.wait().expect("it ended");
        }
        let since = Instant::now();
        while !self.processes().is_empty() {
            assert!(since.elapsed() < Duration::from_secs(10), "left over: {:?}", self.processes());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // After a failed test, too, nothing is to be left.
        if let Some(mut server) = self.server.take() {
            server.kill().ok();
            server.wait().ok();
        }
        if self.data().exists() {
            let data = self.data();
            self.davy(&["down", "--data", data.to_str().unwrap_or_default()]);
        }
    }
}

pub(crate) fn text(output: &Output) -> String {
    let code = output.status.code();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("exit {code:?}\n{out}\n{err}")
}

pub(crate) fn last(output: &Output) -> Value {
    let out = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(out.lines().last().unwrap_or_default()).unwrap_or_default()
}

fn get(socket: &mut TcpStream, host: &str, path: &str) -> Option<(u16, String)> {
    socket.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).ok()?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let header =
        |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
    let length: usize = header("content-length:")?.parse().ok()?;
    socket.read_exact(&mut vec![0; length]).ok()?;
    if header("connection:").is_some_and(|value| value == "close") {
        *socket = TcpStream::connect(host).ok()?;
    }
    Some((status, header("x-version:").unwrap_or_default()))
}

/// Requests on a few connections, one after the other on each, until it is stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    failed: Arc<AtomicU64>,
    sent: Arc<AtomicU64>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    pub(crate) fn start(gateway: &str) -> Self {
        Self::on(gateway, "/version")
    }

    /// On a path that every version answers with its `x-version`.
    pub(crate) fn on(gateway: &str, path: &'static str) -> Self {
        Self::counting(gateway, path, |(_, version)| !version.is_empty())
    }

    /// On `/`, where whatever is not 200 has failed.
    pub(crate) fn on_any(gateway: &str) -> Self {
        Self::counting(gateway, "/", |(status, _)| *status == 200)
    }

    fn counting(gateway: &str, path: &'static str, is_good: fn(&(u16, String)) -> bool) -> Self {
        let (stop, failed, sent) = (Arc::new(AtomicBool::new(false)), Arc::default(), Arc::default());
        let threads = (0..4).map(|_| {
            let (gateway, stop) = (gateway.to_owned(), Arc::clone(&stop));
            let (failed, sent): (Arc<AtomicU64>, Arc<AtomicU64>) = (Arc::clone(&failed), Arc::clone(&sent));
            std::thread::spawn(move || {
                let mut socket = None;
                while !stop.load(Ordering::SeqCst) {
                    if socket.is_none() {
                        socket = TcpStream::connect(&gateway).ok();
                    }
                    let answer = socket.as_mut().and_then(|socket| get(socket, &gateway, path));
                    sent.fetch_add(1, Ordering::SeqCst);
                    // A version that answers, with whatever status, is no failure of Davy's.
                    if !answer.as_ref().is_some_and(is_good) {
                        failed.fetch_add(1, Ordering::SeqCst);
                        socket = None;
                    }
                    std::thread::sleep(Duration::from_millis(4));
                }
            })
        });
        let threads = threads.collect();
        Self { stop, failed, sent, threads }
    }

    /// Ends it; how many were sent, and how many Davy failed.
    pub(crate) fn stop(self) -> (u64, u64) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().expect("it counts");
        }
        (self.sent.load(Ordering::SeqCst), self.failed.load(Ordering::SeqCst))
    }
}

/// The process id of a host's gateway, which its porter started.
pub(crate) fn gateway_of(data: &Path) -> u32 {
    let mark = data.join("gateway").to_str().expect("a plain path").to_owned();
    let all = fs::read_dir("/proc").expect("proc").flatten();
    let found = all.filter_map(|entry| {
        let words = fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<_> = words.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        let is = words.get(1..3).is_some_and(|words| words == ["gateway", "--held"])
            && words.iter().any(|word| *word == mark);
        is.then(|| entry.file_name().to_str()?.parse().ok()).flatten()
    });
    found.into_iter().next().expect("a gateway runs")
}
