//! A small exporter: counters of several instances, each behind a port of its own, in Prometheus' text format.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// One instance that is scraped. It ends with the value.
pub(crate) struct Exporter {
    pub(crate) address: SocketAddr,
    text: Arc<Mutex<String>>,
}

impl Exporter {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let text = Arc::new(Mutex::new(String::new()));
        let served = Arc::downgrade(&text);
        listener.set_nonblocking(true).expect("not blocking");
        std::thread::spawn(move || {
            while let Some(text) = served.upgrade() {
                if let Ok((mut socket, _)) = listener.accept() {
                    socket.set_nonblocking(false).ok();
                    socket.set_read_timeout(Some(Duration::from_secs(2))).ok();
                    let mut head = [0; 4096];
                    let read = socket.read(&mut head).unwrap_or_default();
                    let body = text.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    if read > 0 {
                        let length = body.len();
                        let head = format!(
                            "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
                        );
                        socket.write_all(format!("{head}{body}").as_bytes()).ok();
                    }
                }
                drop(text);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { address, text }
    }

    /// What it stands at.
    pub(crate) fn says(&self, text: impl Into<String>) {
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = text.into();
    }

    /// Tries and failures of a release.
    pub(crate) fn counts(&self, release: &str, tries: u64, failures: impl std::fmt::Display) {
        self.says(format!(
            "# TYPE checkout_total counter\ncheckout_total{{release=\"{release}\"}} {tries}\n\
             # TYPE checkout_failures_total counter\ncheckout_failures_total{{release=\"{release}\"}} {failures}\n"
        ));
    }
}
