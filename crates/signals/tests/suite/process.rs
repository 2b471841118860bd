//! Debian's Prometheus, in a folder of its own.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A server that scrapes its targets every second. It ends with the value.
pub(crate) struct Server {
    pub(crate) url: String,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Server {
    /// Whatever the file lists as `[{"targets":["127.0.0.1:1"]}]`, as soon as it is written there.
    pub(crate) fn following(file: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("davy-prometheus-").tempdir_in("/tmp").expect("a folder");
        let text = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 900ms }}\nscrape_configs:\n  - job_name: shop\n    \
             file_sd_configs: [{{ files: ['{}'], refresh_interval: 1s }}]\n",
            file.display()
        );
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, text).expect("a file");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let log = std::fs::File::create(folder.path().join("log")).expect("a file");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .expect("prometheus runs: scripts/setup installs it");
        let server = Self { url: format!("http://127.0.0.1:{port}"), child, _folder: folder };
        let since = Instant::now();
        while !ready(port) {
            assert!(since.elapsed() < Duration::from_secs(60), "prometheus is not ready");
            std::thread::sleep(Duration::from_millis(100));
        }
        server
    }

    /// Ends it now.
    pub(crate) fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn ready(port: u16) -> bool {
    let Ok(mut socket) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    socket.set_read_timeout(Some(Duration::from_secs(2))).ok();
    socket.write_all(b"GET /-/ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").ok();
    let mut text = String::new();
    socket.read_to_string(&mut text).ok();
    text.starts_with("HTTP/1.1 200")
}
