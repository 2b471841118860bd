//! A registry of its own, and a way to it that is as slow as a test wants.

use crate::engine::Engine;
use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// A registry on loopback.
pub(crate) struct Registry {
    pub(crate) process: Child,
    pub(crate) address: String,
    pub(crate) folder: tempfile::TempDir,
    private: bool,
}

impl Registry {
    /// `davy` with the password `lamp` may use it.
    pub(crate) fn private() -> Self {
        Self::start(true)
    }

    /// Everybody may use it.
    pub(crate) fn public() -> Self {
        Self::start(false)
    }

    fn start(private: bool) -> Self {
        let folder = tempfile::tempdir_in("/tmp").expect("a folder");
        let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
        let at = |name: &str| folder.path().join(name).display().to_string();
        // The password as bcrypt has it.
        fs::write(at("htpasswd"), "davy:$2b$04$3AIj.nEr/NOQKlPqyoYzSeCAIMlw.olwpDvEvTHYUIt38sKbsHmbK\n")
            .expect("a file");
        let mut settings = format!(
            "version: 0.1\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\nhttp: {{ addr: \"{free}\" }}\n",
            at("store"),
        );
        if private {
            settings.push_str(&format!("auth: {{ htpasswd: {{ realm: test, path: {} }} }}\n", at("htpasswd")));
        }
        fs::write(at("registry.yaml"), settings).expect("a file");
        let mut command = Command::new("docker-registry");
        command.args(["serve", &at("registry.yaml")]).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("docker-registry runs: scripts/setup installs it");
        let since = Instant::now();
        while TcpStream::connect(free).is_err() {
            assert!(since.elapsed() < Duration::from_secs(30), "the registry never listened");
            thread::sleep(Duration::from_millis(20));
        }
        Self { process, address: free.to_string(), folder, private }
    }

    /// What `docker login` leaves.
    pub(crate) fn login(&self, password: &str) -> PathBuf {
        let folder = self.folder.path().join(password);
        fs::create_dir_all(&folder).expect("a folder");
        let secret = match password {
            "lamp" => "ZGF2eTpsYW1w",
            _ => "ZGF2eTp3cm9uZw==",
        };
        let text = format!("{{\"auths\":{{\"{}\":{{\"auth\":\"{secret}\"}}}}}}", self.address);
        fs::write(folder.join("config.json"), text).expect("a file");
        folder
    }

    /// Pushes what the engine has as `image` under another name, and takes that name away from the engine.
    pub(crate) fn push(&self, engine: &Engine, image: &str, name: &str) {
        engine.said(&["tag", image, name]);
        let login = if self.private { self.login("lamp") } else { self.folder.path().to_owned() };
        engine.said_with(&[("DOCKER_CONFIG", &login.display().to_string())], &["push", name]);
        engine.said(&["rmi", name]);
    }

    /// Pushes an image with this page, and so many bytes more, which the engine has no more then.
    pub(crate) fn publish(&self, engine: &Engine, name: &str, text: &str, more: usize, changes: &[&str]) {
        engine.image_of("being-published:1", &[("www/index.html", text), ("more", &noise(more))], changes);
        self.push(engine, "being-published:1", name);
        engine.said(&["rmi", "being-published:1"]);
    }

    pub(crate) fn end(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.end();
    }
}

/// A way to a registry on which its answers come slowly.
pub(crate) struct Trickle {
    pub(crate) address: String,
    /// Bytes a second, of all connections together.
    rate: Arc<AtomicU64>,
    blobs: Arc<Mutex<Vec<String>>>,
}

impl Trickle {
    pub(crate) fn to(registry: &Registry) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let (rate, blobs) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::default());
        let (to, pace, seen) = (registry.address.clone(), Arc::clone(&rate), Arc::clone(&blobs));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&to) else { continue };
                let (pace, seen) = (Arc::clone(&pace), Arc::clone(&seen));
                let (asks, answers) = (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
                thread::spawn(move || carry(asks, server, None, Some(&*seen)));
                thread::spawn(move || carry(answers, client, Some(&*pace), None));
            }
        });
        Self { address, rate, blobs }
    }

    /// From now on so many bytes a second; none at all is a registry that says nothing more.
    pub(crate) fn at(&self, rate: u64) {
        self.rate.store(rate, Ordering::SeqCst);
    }

    /// As fast as it goes.
    pub(crate) fn freely(&self) {
        self.at(u64::MAX);
    }

    /// How often layers were asked for. An image's settings are what is asked for first: a tag's meaning comes with them.
    pub(crate) fn layers(&self) -> usize {
        let blobs = self.blobs.lock().expect("nobody panicked");
        blobs.iter().filter(|blob| Some(*blob) != blobs.first()).count()
    }
}

/// A tenth of a second's bytes at a time.
fn carry(mut from: TcpStream, mut to: TcpStream, rate: Option<&AtomicU64>, blobs: Option<&Mutex<Vec<String>>>) {
    const TENTH: Duration = Duration::from_millis(100);
    let mut bytes = [0; 64 * 1024];
    loop {
        let allowed = rate.map_or(u64::MAX, |rate| rate.load(Ordering::SeqCst)) / 10;
        if allowed == 0 {
            thread::sleep(TENTH);
            continue;
        }
        let most = usize::try_from(allowed).unwrap_or(usize::MAX).min(bytes.len());
        let Ok(length @ 1..) = from.read(&mut bytes[..most]) else { break };
        if let Some(blobs) = blobs {
            let said = String::from_utf8_lossy(&bytes[..length]);
            let asked = said.lines().next().filter(|line| line.starts_with("GET ") && line.contains("/blobs/"));
            blobs.lock().expect("nobody panicked").extend(asked.map(str::to_owned));
        }
        if to.write_all(&bytes[..length]).is_err() {
            break;
        }
        if allowed < u64::MAX / 10 {
            thread::sleep(TENTH);
        }
    }
    to.shutdown(Shutdown::Both).ok();
    from.shutdown(Shutdown::Both).ok();
}

/// So many bytes that no compression makes much smaller.
fn noise(bytes: usize) -> String {
    // Letters of six bits each; what is left of a seventh and an eighth is all that can be saved.
    const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let letters = (0..bytes).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(LETTERS[usize::try_from(state % 64).unwrap_or_default()])
    });
    letters.collect()
}
