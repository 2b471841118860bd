//! Davy installed, upgraded under load and removed: by `deploy/install` as its units would run it, and as containers.

use crate::{
    docker::{sample, sample_with},
    engine::Engine,
    host::{DAVY, Host, Load, gateway_of, text},
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

    /// A command of a unit, and where it tells what it has to tell.
    fn command(&self, name: &str, key: &str) -> (Command, UnixDatagram) {
        let unit = self.unit(name);
        assert!(unit.contains("Type=notify\n"));
        let line = unit.lines().find_map(|line| line.strip_prefix(key)).expect("a command").to_owned();
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
        (command, socket)
    }

    /// Starts a unit, and waits until it says that it is ready.
    fn start(&self, name: &str) -> Child {
        let (mut command, socket) = self.command(name, "ExecStart=");
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
    // The gateway is killed: its unit goes on, and who comes then waits for the next one.
    let killed = gateway_of(&machine.root.join("var/lib/davy/data"));
    assert!(Command::new("kill").args(["-9", &killed.to_string()]).status().expect("kill runs").success());
    while fs::exists(format!("/proc/{killed}")).expect("proc") {
        std::thread::yield_now();
    }
    assert_eq!(machine.host.get(), Some((200, "v1".to_owned())));
    assert!(gateway.try_wait().expect("it is ours").is_none());
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
    // Another gateway takes over, and the service manager is told which process that is before the one before ends.
    let (mut wrong, _) = machine.command("davy-gateway.service", "ExecReload=");
    assert_eq!(wrong.arg("--nonsense").status().expect("it starts").code(), Some(1), "and nothing changes");
    let (mut reload, told) = machine.command("davy-gateway.service", "ExecReload=");
    assert!(reload.status().expect("it starts").success());
    let mut heard = Vec::new();
    let mut bytes = [0; 64];
    while heard.len() < 2 {
        let length = told.recv(&mut bytes).expect("it is told");
        let message = String::from_utf8_lossy(&bytes[..length]).into_owned();
        heard.extend(message.strip_prefix("MAINPID=").and_then(|pid| pid.parse::<u32>().ok()));
    }
    assert!(heard[0] == heard[1] && heard[0] != gateway.id(), "{heard:?}");
    assert!(fs::exists(format!("/proc/{}", heard[0])).expect("proc"), "the other one runs");
    let (sent, failed) = load.stop();
    assert!(sent > 300 && failed == 0, "{failed} of {sent}");
    // The server first, as the script does where systemd runs; the rest is its own.
    terminate(server);
    assert_eq!(machine.host.get(), Some((200, "v2".to_owned())), "traffic goes on without the server");
    assert!(machine.script("uninstall", &["--prefix", "/usr"]).contains("its data are kept"));
    assert!(gateway.wait().expect("it is ours").success(), "the one before has nothing left to do");
    // What lets go of its folder last has nothing left to do, either; then the script goes on.
    let since = Instant::now();
    while fs::read(format!("/proc/{}/cmdline", heard[0])).is_ok_and(|words| !words.is_empty()) {
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
    let dockerfile = fs::read_to_string(deploy("Dockerfile")).expect("the Dockerfile");
    let is_change = |line: &&str| ["ENV ", "VOLUME ", "ENTRYPOINT ", "CMD "].iter().any(|word| line.starts_with(word));
    let changes: Vec<&str> = dockerfile.lines().filter(is_change).collect();
    assert_eq!(changes.len(), 4);
    sample_with(&engine, "davy:1", &changes);
    sample_with(&engine, "davy:2", &changes);
    sample(&engine, "logo:1");
    let folder = tempfile::Builder::new().prefix("davy-c-").tempdir_in("/tmp").expect("a folder");
    let free = || {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
        free.to_string()
    };
    let (address, api) = (free(), free());
    let compose = |image: &str, words: &[&str]| {
        let mut command = Command::new("docker-compose");
        command.arg("--file").arg(deploy("compose.yaml")).args(words).current_dir(folder.path());
        command.env("DOCKER_HOST", engine.host()).env("DAVY_IMAGE", image).stdin(Stdio::null());
        command.env("DAVY_GATEWAY", &address).env("DAVY_LISTEN", &api);
        command.env("DAVY_DOCKER_SOCKET", engine.host().trim_start_matches("unix://"));
        command.output().expect("docker-compose runs: scripts/setup installs it")
    };
    let said = |image: &str, words: &[&str]| {
        let output = compose(image, words);
        assert!(output.status.success(), "{words:?}: {}", text(&output));
    };
    let work = format!("{}:/work", folder.path().display());
    let davy = |words: &[&str]| {
        compose("davy:1", &[&["run", "--rm", "-T", "--volume", &work, "--workdir", "/work", "davy"], words].concat())
    };
    let answers = || {
        let since = Instant::now();
        while !davy(&["history"]).status.success() {
            let told = text(&compose("davy:1", &["logs"]));
            assert!(since.elapsed() < Duration::from_secs(60), "the server never answered: {told}");
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    said("davy:1", &["up", "--detach"]);
    answers();
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
    let gateway = engine.said(&["ps", "--no-trunc", "--quiet", "--filter", "name=gateway"]);
    // The gateway is killed: its porter, the container's first process, goes on, and who comes then waits.
    let porter = engine.said(&["inspect", "--format", "{{.State.Pid}}", &gateway]);
    let killed = fs::read_to_string(format!("/proc/{porter}/task/{porter}/children")).expect("the porter's children");
    let killed = killed.trim();
    assert!(Command::new("kill").args(["-9", killed]).status().expect("kill runs").success());
    while fs::exists(format!("/proc/{killed}")).expect("proc") {
        std::thread::yield_now();
    }
    assert_eq!(Host::ask(&address), Some((200, "v1".to_owned())));
    assert_eq!(
        engine.said(&["inspect", "--format", "{{.State.Pid}} {{.RestartCount}}", &gateway]),
        format!("{porter} 0")
    );
    let load = Load::start(&address);
    // The new image takes the server's place; the gateway's container is not touched.
    said("davy:2", &["up", "--detach", "--no-deps", "server"]);
    answers();
    write("v2");
    let second = davy(&["deploy", "--watch"]);
    assert_eq!(second.status.code(), Some(0), "{}", text(&second));
    assert_eq!(engine.said(&["ps", "--no-trunc", "--quiet", "--filter", "name=gateway"]), gateway);
    assert!(engine.said(&["ps", "--format", "{{.Image}} {{.Command}}"]).contains("davy:2 \"/davy up"));
    let (sent, failed) = load.stop();
    assert!(sent > 300 && failed == 0, "{failed} of {sent}");
    // As docs/install.md removes it.
    said("davy:2", &["stop"]);
    said("davy:2", &["run", "--rm", "-T", "server", "down", "--data", "/data/d"]);
    said("davy:2", &["down", "--volumes"]);
    assert_eq!(engine.containers(), Vec::<String>::new(), "nothing is left");
    assert!(!engine.said(&["network", "ls"]).contains("davy-"));
    assert!(!engine.said(&["volume", "ls"]).contains("davy-data"));
}
