//! Davy installed, upgraded under load and removed: by `deploy/install` as its units would run it, and as containers.

use crate::{
    docker::sample,
    engine::Engine,
    host::{DAVY, Host, Load, text},
};
use std::{
    fs,
    os::unix::{fs::MetadataExt, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name)
}

/// A machine's files, and the units on it, which a test starts as systemd would.
struct Machine {
    host: Host,
    root: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let host = Host::new();
        let root = host.folder.path().join("r");
        Self { host, root }
    }

    fn script(&self, name: &str, words: &[&str]) -> String {
        let mut script = Command::new(deploy(name));
        let output = script.args(words).env("DESTDIR", &self.root).output().expect("a shell");
        assert!(output.status.success(), "{name}: {}", text(&output));
        text(&output)
    }

    fn files(&self) -> Vec<String> {
        let found = Command::new("find").arg(&self.root).args(["-not", "-type", "d"]).output().expect("find runs");
        String::from_utf8_lossy(&found.stdout).lines().map(str::to_owned).collect()
    }

    fn unit(&self, name: &str) -> String {
        fs::read_to_string(self.root.join("etc/systemd/system").join(name)).expect("a unit")
    }

    /// Starts a unit, and waits until it says that it is ready.
    fn start(&self, name: &str) -> Child {
        let unit = self.unit(name);
        assert!(unit.contains("Type=notify\n"));
        let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command").to_owned();
        let settings = fs::read_to_string(self.root.join("etc/davy/environment")).expect("settings");
        let settings: Vec<(&str, &str)> = settings.lines().filter_map(|line| line.split_once('=')).collect();
        let mut words = Vec::new();
        for word in line.split(' ') {
            match word.strip_prefix('$').map(|name| name.trim_matches(['{', '}'])) {
                Some(name) => {
                    let value = settings.iter().find(|(known, _)| *known == name).expect("it is set").1;
                    words.extend(value.split_whitespace().map(str::to_owned));
                }
                None => words.push(word.replace("/var/lib", self.root.join("var/lib").to_str().expect("plain"))),
            }
        }
        let told = self.host.folder.path().join(format!("notify-{name}"));
        fs::remove_file(&told).ok();
        let socket = UnixDatagram::bind(&told).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let state = self.root.join("var/lib/davy");
        fs::create_dir_all(&state).expect("the state's folder");
        let mut command = Command::new(self.root.join(words[0].trim_start_matches('/')));
        command
            .args(&words[1..])
            .env_clear()
            .env("HOME", &state)
            .env("NOTIFY_SOCKET", &told)
            .env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().expect("it starts");
        let mut bytes = [0; 64];
        let length = socket.recv(&mut bytes).expect("it says that it is ready");
        assert_eq!(&bytes[..length], b"READY=1");
        child
    }

    fn davy(&self, words: &[&str]) -> std::process::Output {
        let mut davy = Command::new(self.root.join("usr/bin/davy"));
        davy.args(words).current_dir(self.host.folder.path()).env_clear().env("HOME", self.root.join("var/lib/davy"));
        davy.output().expect("davy runs")
    }
}

/// As `systemctl stop` does with these units.
fn terminate(mut child: Child) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
    let since = Instant::now();
    while child.try_wait().expect("it is ours").is_none() {
        assert!(since.elapsed() < Duration::from_secs(20), "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn units_are_installed_upgraded_under_load_and_leave_nothing() {
    let mut machine = Machine::new();
    assert!(machine.script("install", &["--prefix", "/usr", DAVY]).contains("davy 0."));
    let units = ["davy.service", "davy-gateway.service"];
    for unit in units {
        let text =
            machine.unit(unit).replace("/usr/bin/davy", machine.root.join("usr/bin/davy").to_str().expect("plain"));
        fs::write(machine.host.folder.path().join(unit), text).expect("a file");
    }
    let mut verify = Command::new("systemd-analyze");
    verify.arg("verify").args(units).current_dir(machine.host.folder.path());
    let verified = verify.output().expect("systemd-analyze runs: scripts/setup installs it");
    assert!(verified.status.success() && verified.stderr.is_empty(), "{}", text(&verified));
    let settings = machine.root.join("etc/davy/environment");
    let changed =
        fs::read_to_string(&settings).expect("settings").replace("0.0.0.0:80", "127.0.0.1:0").replace(":7420", ":0");
    fs::write(&settings, &changed).expect("settings");
    let mut gateway = machine.start("davy-gateway.service");
    let server = machine.start("davy.service");
    let doctor = machine.davy(&["doctor"]);
    assert!(doctor.status.success(), "{}", text(&doctor));
    let listens = text(&doctor);
    let address =
        listens.split("listens on ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("an address");
    machine.host.gateway = address.to_owned();
    machine
        .host
        .write("v1", "rollout: { canary: { steps: [50%, 100%], hold: 1s, deadline: 60s }, drain: 1s, bake: 1s }\n");
    let first = machine.davy(&["deploy", "--watch"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    let load = Load::start(&machine.host.gateway);
    // A newer binary; the server is restarted, and a rollout goes on in the new one.
    let newer = machine.host.folder.path().join("newer");
    fs::write(&newer, [fs::read(DAVY).expect("the binary"), vec![0]].concat()).expect("a file");
    fs::set_permissions(&newer, fs::metadata(DAVY).expect("the binary").permissions()).expect("its mode");
    let inode = || fs::metadata(machine.root.join("usr/bin/davy")).expect("the binary").ino();
    let before = inode();
    machine
        .host
        .write("v2", "rollout: { canary: { steps: [50%, 100%], hold: 2s, deadline: 60s }, drain: 1s, bake: 1s }\n");
    let second = machine.davy(&["deploy"]);
    assert_eq!(second.status.code(), Some(0), "{}", text(&second));
    machine.script("install", &["--prefix=/usr", newer.to_str().expect("plain")]);
    assert_ne!(inode(), before, "what ran keeps its file");
    assert_eq!(fs::read_to_string(&settings).expect("settings"), changed, "what was set stays");
    terminate(server);
    let server = machine.start("davy.service");
    let watched = machine.davy(&["rollout", "watch"]);
    assert_eq!(watched.status.code(), Some(0), "{}", text(&watched));
    assert!(gateway.try_wait().expect("it is ours").is_none(), "the gateway went on");
    assert_eq!(machine.host.get(), Some((200, "v2".to_owned())));
    let (sent, failed) = load.stop();
    assert!(sent > 300 && failed == 0, "{failed} of {sent}");
    // The server first, as the script does where systemd runs; the rest is its own.
    terminate(server);
    assert_eq!(machine.host.get(), Some((200, "v2".to_owned())), "traffic goes on without the server");
    assert!(machine.script("uninstall", &["--prefix", "/usr"]).contains("its data are kept"));
    // It lets go of its folder last; then the script goes on, and the process has nothing left to do.
    let since = Instant::now();
    while gateway.try_wait().expect("it is ours").is_none() {
        assert!(since.elapsed() < Duration::from_secs(1), "it has ended when the script has");
        std::thread::sleep(Duration::from_millis(10));
    }
    let left: Vec<String> = machine.host.processes();
    assert!(left.is_empty(), "{left:?}");
    assert!(machine.root.join("var/lib/davy/data/journal.db").exists());
    machine.script("uninstall", &["--prefix", "/usr", "--purge"]);
    assert_eq!(machine.files(), Vec::<String>::new(), "nothing is left");
}

#[test]
fn what_cannot_be_installed_says_why() {
    let machine = Machine::new();
    let broken = machine.host.folder.path().join("broken");
    fs::write(&broken, "no program").expect("a file");
    for (words, says) in [
        (vec![], "scripts/release made"),
        (vec!["/nowhere/davy"], "is not there"),
        (vec!["--prefx", "/usr"], "no option"),
        (vec![broken.to_str().expect("plain")], "does not run"),
    ] {
        let mut script = Command::new(deploy("install"));
        let output = script.args(&words).env("DESTDIR", &machine.root).output().expect("a shell");
        assert!(!output.status.success() && text(&output).contains(says), "{words:?}: {}", text(&output));
        assert!(!machine.root.exists(), "nothing was written");
    }
    // A server whose gateway is nowhere says so; it starts none.
    let gateway = machine.host.davy(&["gateway", "--data"]);
    assert!(gateway.status.code() == Some(2) && text(&gateway).contains("needs a value"), "{}", text(&gateway));
}

/// The containers of `deploy/compose.yaml`, on the machine's own network.
#[test]
fn davy_runs_in_containers_and_is_upgraded_under_load() {
    let engine = Engine::start();
    sample(&engine, "davy:1");
    sample(&engine, "davy:2");
    sample(&engine, "logo:1");
    let folder = tempfile::Builder::new().prefix("davy-c-").tempdir_in("/tmp").expect("a folder");
    let volume = "data:/data";
    let socket = format!("{}:/var/run/docker.sock", engine.host().trim_start_matches("unix://"));
    let run = |name: &str, image: &str, more: &[&str], words: &[&str]| {
        let common =
            ["run", "--detach", "--name", name, "--network", "host", "--volume", volume, "--env", "HOME=/data"];
        let hardened =
            ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--entrypoint", "/davy"];
        engine.said(&[&common[..], &hardened[..], more, &[image], words].concat())
    };
    let free = || {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
        free.to_string()
    };
    let (address, api) = (free(), free());
    let gateway = ["gateway", "--data", "/data/d", "--listen", &address];
    run("gateway", "davy:1", &["--cap-add", "NET_BIND_SERVICE"], &gateway);
    let up = ["up", "--data", "/data/d", "--listen", &api, "--gateway", &address, "--gateway-apart"];
    run("server", "davy:1", &["--volume", &socket], &up);
    let davy = |words: &[&str]| {
        let work = format!("{}:/work", folder.path().display());
        let common = ["run", "--rm", "--network", "host", "--volume", volume, "--volume", &work, "--workdir", "/work"];
        engine.docker(&[&common[..], &["--env", "HOME=/data", "--entrypoint", "/davy", "davy:1"], words].concat())
    };
    let since = Instant::now();
    while !davy(&["history"]).status.success() {
        let told = text(&engine.docker(&["logs", "server"]));
        assert!(since.elapsed() < Duration::from_secs(60), "the server never answered: {told}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let write = |version: &str| {
        let file = format!(
            "service: logo\nimage: logo:1\ncommand: /davy logo --host 0.0.0.0 --port $PORT --version {version}\nport: 8080\n\
             stop-signal: SIGKILL\nhealth: {{ path: /healthz, grace: 20s, interval: 500ms }}\n\
             rollout:\n  canary: {{ steps: [50%, 100%], hold: 1s, deadline: 60s }}\n  drain: 1s\n  bake: 1s\n"
        );
        fs::write(folder.path().join("davy.yaml"), file).expect("a file");
    };
    write("v1");
    let first = davy(&["deploy", "--watch"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    let load = Load::start(&address);
    // The new image takes the server's place; the gateway's container is not touched.
    engine.said(&["rm", "--force", "server"]);
    run("server", "davy:2", &["--volume", &socket], &up);
    write("v2");
    let since = Instant::now();
    let second = loop {
        let second = davy(&["deploy", "--watch"]);
        if second.status.code() != Some(6) || since.elapsed() > Duration::from_secs(60) {
            break second;
        }
    };
    assert_eq!(second.status.code(), Some(0), "{}", text(&second));
    let (sent, failed) = load.stop();
    assert!(sent > 300 && failed == 0, "{failed} of {sent}");
    let down = davy(&["down", "--data", "/data/d"]);
    assert!(down.status.success(), "{}", text(&down));
    let mut left = engine.containers();
    left.sort();
    assert_eq!(left, ["gateway", "server"], "what it started is gone");
    assert!(!engine.said(&["network", "ls"]).contains("davy-"));
}
