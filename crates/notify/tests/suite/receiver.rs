//! A receiver of HTTP that answers each request as it is told.

use std::sync::{Arc, Mutex};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
};

/// A head and a body.
pub(crate) type Seen = (String, serde_json::Value);

pub(crate) struct Receiver {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// `answer` is the status for the request of this number, from 0, and more of the head.
    pub(crate) async fn answering(answer: impl Fn(usize) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let all = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                serve(socket, &all, &answer).await;
            }
        });
        Self { url, seen, task }
    }

    /// The same behind a certificate that nobody trusts.
    pub(crate) async fn untrusted() -> Self {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/hook", listener.local_addr().unwrap().port());
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let all = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                if let Ok(socket) = acceptor.accept(socket).await {
                    serve(socket, &all, &|_| "200 OK".to_owned()).await;
                }
            }
        });
        Self { url, seen, task }
    }

    pub(crate) fn all(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn events(&self) -> Vec<String> {
        self.all().iter().map(|(_, body)| body["event"].as_str().unwrap().to_owned()).collect()
    }
}

async fn serve(socket: impl AsyncRead + AsyncWrite + Unpin, all: &Mutex<Vec<Seen>>, answer: &impl Fn(usize) -> String) {
    let mut socket = BufReader::new(socket);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if !matches!(socket.read_line(&mut head).await, Ok(1..)) {
            return;
        }
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap();
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.unwrap();
    let number = {
        let mut all = all.lock().unwrap();
        all.push((head, serde_json::from_slice(&body).unwrap()));
        all.len() - 1
    };
    let status = answer(number);
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    socket.get_mut().write_all(answer.as_bytes()).await.ok();
    socket.get_mut().shutdown().await.ok();
}
