//! A PostgreSQL server of a test's own, from the system's package: a folder that vanishes, a socket in it; no network, or one of
//! its own.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};
use tempfile::TempDir;

pub(crate) struct Server {
    folder: TempDir,
    child: Option<Child>,
    databases: AtomicU64,
    /// The network namespace that it is in.
    network: Option<String>,
}

/// The newest version that is installed.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed: scripts/setup");
    let folders = versions.map(|version| version.unwrap().path().join("bin"));
    folders.filter(|folder| folder.join("initdb").exists()).max().expect("it has its programs")
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::of(None)
    }

    /// One that listens in a network namespace, and trusts whoever reaches it there.
    pub(crate) fn start_in(network: &str) -> Self {
        Self::of(Some(network.to_owned()))
    }

    fn of(network: Option<String>) -> Self {
        let folder = TempDir::new().unwrap();
        let mut server = Self { folder, child: None, databases: AtomicU64::new(0), network };
        fs::set_permissions(server.folder(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["data", "run"] {
            let made = server.folder().join(name);
            fs::create_dir(&made).unwrap();
            if is_root() {
                std::os::unix::fs::chown(&made, Some(65534), Some(65534)).unwrap();
            }
        }
        let options = ["-U", "davy", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D"];
        let made = server.program("initdb").args(options).arg(server.folder().join("data")).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        if server.network.is_some() {
            let rules = server.folder().join("data/pg_hba.conf");
            let known = fs::read_to_string(&rules).unwrap();
            fs::write(&rules, format!("{known}host all all 0.0.0.0/0 trust\n")).unwrap();
        }
        server.again();
        server
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Run by nobody, for it refuses to be run by root; it ends with the test, however that ends.
    fn program(&self, name: &str) -> Command {
        let mut command = match &self.network {
            Some(network) if name == "postgres" => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", network, "setpriv"]);
                command
            }
            _ => Command::new("setpriv"),
        };
        command.args(["--pdeathsig", "QUIT"]);
        if is_root() {
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        }
        command.arg(programs().join(name)).current_dir("/").stdin(Stdio::null());
        command
    }

    /// Starts it, or starts it again.
    pub(crate) fn again(&mut self) {
        let log = fs::File::create(self.folder().join("log")).unwrap();
        let mut command = self.program("postgres");
        command.arg("-D").arg(self.folder().join("data")).arg("-k").arg(self.folder().join("run"));
        let addresses = if self.network.is_some() { "listen_addresses=*" } else { "listen_addresses=" };
        command.args(["-c", addresses, "-c", "fsync=off", "-c", "max_connections=50"]);
        self.child = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        let begun = Instant::now();
        while !self.answers() {
            let log = || fs::read_to_string(self.folder().join("log")).unwrap();
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not answer: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn answers(&self) -> bool {
        let ready = self.program("pg_isready").arg("-q").arg("-h").arg(self.folder().join("run")).status();
        ready.unwrap().success()
    }

    /// Ends it at once, as a crash does.
    pub(crate) fn crash(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Its children notice; a kill would leave them for a while.
            let told = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status().unwrap();
            assert!(told.success());
            child.wait().unwrap();
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder().join("run/.s.PGSQL.5432")
    }

    /// A new and empty database.
    pub(crate) fn database(&self) -> String {
        let name = format!("d{}", self.databases.fetch_add(1, Ordering::SeqCst));
        self.sql("postgres", &format!("CREATE DATABASE {name} STRATEGY file_copy"));
        self.url(&name)
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("postgres://davy@localhost/{name}?host={}", self.folder().join("run").display())
    }

    /// What `psql` says to it.
    pub(crate) fn sql(&self, database: &str, text: &str) -> String {
        let said = self.psql(database, text).output().unwrap();
        assert!(said.status.success(), "{text}: {}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn psql(&self, database: &str, text: &str) -> Command {
        let mut command = self.program("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "davy", "-d", database, "-h"]);
        command.arg(self.folder().join("run")).args(["-c", text]);
        command
    }

    /// A database as `pg_dump` writes it.
    pub(crate) fn dump(&self, database: &str) -> String {
        let mut command = self.program("pg_dump");
        command.args(["-U", "davy", "-d", database, "--schema=davy", "--inserts", "--no-owner", "-h"]);
        let said = command.arg(self.folder().join("run")).output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap()
    }

    /// The tables of one journal in place of another's.
    pub(crate) fn copy(&self, from: &str, to: &str, tables: &[&str]) {
        let file = self.folder().join("data/copied");
        for table in tables {
            self.sql(from, &format!("COPY davy.{table} TO '{}'", file.display()));
            let guard = "SET session_replication_role = replica; TRUNCATE";
            let clear = format!("{guard} davy.{table} CASCADE; COPY davy.{table} FROM '{}'", file.display());
            self.sql(to, &clear);
        }
    }
}

/// A dump without what only `psql` or one version understands, and without what is said of it.
pub(crate) fn plain(dump: &str) -> String {
    let other =
        |line: &&str| !["SET ", "SELECT pg_catalog.set_config", "\\", "--"].iter().any(|begin| line.starts_with(begin));
    let lines = dump.lines().filter(|line| !line.is_empty()).filter(other);
    lines.flat_map(|line| [line, "\n"]).collect()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.crash();
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}
