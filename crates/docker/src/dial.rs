//! Ways to an engine on another machine: TLS with a certificate on either side, or SSH, as Docker's own client goes.

use bollard::{BollardRequest, errors::Error as Failure};
use http_body_util::BodyExt;
use hyper::{Request, Response, body::Incoming, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use std::{
    env,
    fmt::Display,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::TcpStream,
    process::Command,
    sync::Notify,
    time::{Instant, timeout_at},
};

/// The longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(15);
/// Connections that wait for the next request: more than containers are looked at at once, and some for what else is asked.
const KEPT: usize = 2 * crate::platform::LOOKED_AT;
/// The longest wait for a connection whose answer is being read: it may go on for ever, as followed output does.
const RETURN: Duration = Duration::from_millis(200);
/// What is kept of ssh's own words.
const WORDS: u64 = 4096;

/// Why an engine on another machine cannot be reached, and what to do.
#[derive(Debug)]
pub(crate) struct Unreachable {
    pub happened: String,
    pub hint: String,
}

impl Display for Unreachable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.happened)
    }
}

impl std::error::Error for Unreachable {}

fn unreachable(happened: impl Display, hint: impl Into<String>) -> Unreachable {
    Unreachable { happened: happened.to_string(), hint: hint.into() }
}

/// The way to one engine.
#[derive(Clone)]
pub(crate) struct Dial {
    way: Way,
    pool: Arc<Pool>,
}

/// Connections that are kept.
#[derive(Default)]
struct Pool {
    idle: Mutex<Vec<Sender>>,
    /// How many have brought an answer that is still being read.
    returning: AtomicUsize,
    /// One of these is idle again, or gone.
    back: Notify,
}

#[derive(Clone)]
enum Way {
    Tcp { host: String, port: u16, tls: Option<Tls> },
    Ssh { words: Vec<String> },
}

#[derive(Clone)]
struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    folder: PathBuf,
}

/// A request's body, whose own type the library keeps to itself.
type Body = http_body_util::combinators::UnsyncBoxBody<hyper::body::Bytes, Box<dyn std::error::Error + Send + Sync>>;
type Sender = http1::SendRequest<Body>;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Dial {
    /// The way that an address names; none for a socket on this machine.
    ///
    /// # Errors
    /// When the address or the certificates cannot be used.
    pub(crate) fn of(address: &str) -> Result<Option<Self>, Unreachable> {
        let way = match address.split_once("://") {
            Some(("ssh", rest)) => ssh(rest)?,
            Some(("tcp", rest)) => tcp(rest)?,
            Some(("https", rest)) => tcp(rest)?,
            _ => return Ok(None),
        };
        Ok(Some(Self { way, pool: Arc::default() }))
    }

    /// Where its machine is reached: what is published there is published on this address.
    ///
    /// # Errors
    /// When its name stands for nothing.
    pub(crate) async fn machine(&self) -> Result<IpAddr, Unreachable> {
        let host = match &self.way {
            Way::Tcp { host, .. } => host.clone(),
            Way::Ssh { words } => {
                let asked = Command::new("ssh").arg("-G").args(words).stdin(Stdio::null()).output().await;
                let asked =
                    asked.map_err(|error| unreachable(format!("run ssh: {error}"), "install OpenSSH's client"))?;
                let said = String::from_utf8_lossy(&asked.stdout).into_owned();
                let name = said.lines().find_map(|line| line.strip_prefix("hostname "));
                name.unwrap_or_default().to_owned()
            }
        };
        let hint = "see that the name of the engine's machine is known here";
        let found = tokio::net::lookup_host((host.as_str(), 0)).await;
        let mut found = found.map_err(|error| unreachable(format!("look up {host}: {error}"), hint))?;
        found.next().map(|address| address.ip()).ok_or_else(|| unreachable(format!("{host} has no address"), hint))
    }

    /// Asks the engine.
    pub(crate) async fn request(self, request: BollardRequest) -> Result<Response<Incoming>, Failure> {
        let answer = self.ask(origin(request)).await;
        answer.map_err(|error| Failure::from(io::Error::other(error)))
    }

    async fn ask(&self, mut request: Request<Body>) -> Result<Response<Incoming>, Unreachable> {
        // One that was idle may have been closed meanwhile: then the request comes back, unsent.
        let patience = Instant::now() + RETURN;
        loop {
            let Some(mut sender) = self.take() else {
                // One whose answer has just been read is there before a new one.
                let returning = self.pool.returning.load(Ordering::SeqCst) > 0;
                match returning && timeout_at(patience, self.pool.back.notified()).await.is_ok() {
                    true => continue,
                    false => break,
                }
            };
            match sender.try_send_request(request).await {
                Ok(answer) => {
                    self.keep(sender);
                    return Ok(answer);
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(unreachable(error.into_error(), "see the engine's log")),
                },
            }
        }
        let opened = tokio::time::timeout(CONNECT, self.open()).await;
        let late = || {
            let seconds = CONNECT.as_secs();
            unreachable(format!("no answer within {seconds} s"), "see that the machine is up and reached from here")
        };
        let (stream, said) = opened.map_err(|_| late())??;
        let shaken = http1::handshake::<_, Body>(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(|error| self.explain(&error, &said))?;
        tokio::spawn(connection);
        let answer = sender.send_request(request).await;
        match answer {
            Ok(answer) => {
                self.keep(sender);
                Ok(answer)
            }
            Err(error) => {
                said.settle().await;
                Err(self.explain(&error, &said))
            }
        }
    }

    fn take(&self) -> Option<Sender> {
        let mut idle = lock(&self.pool.idle);
        idle.retain(|sender| !sender.is_closed());
        idle.pop()
    }

    /// Keeps a connection for the next request, once its answer has been read.
    fn keep(&self, mut sender: Sender) {
        self.pool.returning.fetch_add(1, Ordering::SeqCst);
        let pool = Arc::downgrade(&self.pool);
        tokio::spawn(async move {
            let ready = sender.ready().await.is_ok();
            let Some(pool) = pool.upgrade() else { return };
            let mut idle = lock(&pool.idle);
            if ready && idle.len() < KEPT {
                idle.push(sender);
            }
            drop(idle);
            pool.returning.fetch_sub(1, Ordering::SeqCst);
            pool.back.notify_one();
        });
    }

    async fn open(&self) -> Result<(Box<dyn Stream>, Said), Unreachable> {
        match &self.way {
            Way::Tcp { host, port, tls } => {
                let hint = "see that the machine is up, and that its engine listens there";
                let socket = TcpStream::connect((host.as_str(), *port)).await;
                let socket = socket.map_err(|error| unreachable(format!("connect to {host}:{port}: {error}"), hint))?;
                socket.set_nodelay(true).ok();
                let Some(tls) = tls else { return Ok((Box::new(socket), Said::default())) };
                let connector = tokio_rustls::TlsConnector::from(Arc::clone(&tls.config));
                let secured = connector.connect(tls.name.clone(), socket).await;
                let secured = secured.map_err(|error| self.explain(&error, &Said::default()))?;
                Ok((Box::new(secured), Said::default()))
            }
            Way::Ssh { words } => {
                // As Docker's own client does; never a question that nobody answers.
                let mut command = Command::new("ssh");
                command.args(["-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=15"]);
                command.args(words).args(["docker", "system", "dial-stdio"]).kill_on_drop(true);
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
                let spawned = command.spawn();
                let mut child =
                    spawned.map_err(|error| unreachable(format!("run ssh: {error}"), "install OpenSSH's client"))?;
                let (Some(input), Some(output), Some(errors)) =
                    (child.stdin.take(), child.stdout.take(), child.stderr.take())
                else {
                    return Err(unreachable("ssh has no pipes", "try again"));
                };
                let said = Said::default();
                let words = said.clone();
                tokio::spawn(async move {
                    let mut text = Vec::new();
                    errors.take(WORDS).read_to_end(&mut text).await.ok();
                    *lock(&words.text) = String::from_utf8_lossy(&text).trim().to_owned();
                    // Ends with its pipes; nobody else waits for it.
                    child.wait().await.ok();
                    words.over.notify_waiters();
                    words.over.notify_one();
                });
                Ok((Box::new(tokio::io::join(output, input)), said))
            }
        }
    }

    /// What a connection's failure means.
    fn explain(&self, error: &dyn std::error::Error, said: &Said) -> Unreachable {
        let happened = crate::engine::causes(error);
        match &self.way {
            Way::Ssh { .. } => {
                let words = lock(&said.text).clone();
                let hint = match words.to_lowercase() {
                    text if text.contains("permission denied") => {
                        "the user that runs davy needs a key that the machine accepts; try the same with `ssh`"
                    }
                    text if text.contains("host key verification failed") => {
                        "the machine's key is not known, or not the same any more: see ~/.ssh/known_hosts of the user that runs davy"
                    }
                    text if text.contains("not found") => {
                        "install Docker's command line on the machine: ssh runs `docker system dial-stdio`"
                    }
                    _ => "try the same with `ssh`, as the user that runs davy: `ssh HOST docker version`",
                };
                unreachable(if words.is_empty() { happened } else { words.replace('\n', "; ") }, hint)
            }
            Way::Tcp { tls: Some(tls), .. } => {
                let folder = tls.folder.display();
                let hint = if happened.contains("UnknownIssuer") {
                    format!("ca.pem in {folder} is not the authority that signed the engine's certificate")
                } else if happened.contains("NotValidForName") {
                    format!("the engine's certificate is not for the name that you gave it, {:?}", tls.name)
                } else if happened.contains("alert") {
                    format!("the engine refused cert.pem in {folder}: its own --tlscacert must have signed it")
                } else {
                    "see that the engine listens with TLS: `dockerd --tlsverify`".to_owned()
                };
                unreachable(happened, hint)
            }
            Way::Tcp { tls: None, .. } => unreachable(
                happened,
                "does the engine speak TLS there? then set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH",
            ),
        }
    }
}

/// What ssh wrote, and whether it has ended.
#[derive(Clone, Default)]
struct Said {
    text: Arc<Mutex<String>>,
    over: Arc<Notify>,
}

impl Said {
    /// Its last words come just after its pipes are closed.
    async fn settle(&self) {
        const A_MOMENT: Duration = Duration::from_secs(1);
        let _ = tokio::time::timeout(A_MOMENT, self.over.notified()).await;
    }
}

/// On a connection of our own, a request names its path, and its host in a header.
fn origin(request: BollardRequest) -> Request<Body> {
    let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
    if let Some(path) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = path.into();
    }
    request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("docker"));
    request
}

/// `[USER@]HOST[:PORT]`, as words for ssh.
fn ssh(rest: &str) -> Result<Way, Unreachable> {
    let hint = "write ssh://USER@HOST[:PORT]";
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (user, address) = rest.rsplit_once('@').map_or((None, rest), |(user, address)| (Some(user), address));
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (address, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let plain = |text: &str| !text.is_empty() && !text.starts_with('-') && text.chars().all(|c| c.is_ascii_graphic());
    if !plain(host) || host.contains('/') {
        return Err(unreachable(format!("`ssh://{address}` names no machine"), hint));
    }
    let mut words = Vec::new();
    if let Some(user) = user {
        if !plain(user) || user.contains(':') {
            return Err(unreachable("the user in it cannot be used; a password is given to nobody this way", hint));
        }
        words.extend(["-l".to_owned(), user.to_owned()]);
    }
    if let Some(port) = port {
        let port: u16 = port.parse().map_err(|_| unreachable(format!("`{port}` is no port"), hint))?;
        words.extend(["-p".to_owned(), port.to_string()]);
    }
    words.extend(["--".to_owned(), host.to_owned()]);
    Ok(Way::Ssh { words })
}

fn tcp(rest: &str) -> Result<Way, Unreachable> {
    let hint = "write tcp://HOST:2376";
    let address = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (address, "2376"),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port: u16 = port.parse().map_err(|_| unreachable(format!("`{port}` is no port"), hint))?;
    let verify = env::var("DOCKER_TLS_VERIFY").is_ok_and(|value| !value.is_empty());
    if !verify {
        let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        return match loopback {
            true => Ok(Way::Tcp { host, port, tls: None }),
            false => Err(unreachable(
                format!("the engine at {host} would be used without TLS, and so by anybody"),
                "set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH, or use ssh://USER@HOST",
            )),
        };
    }
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
    let folder = env::var_os("DOCKER_CERT_PATH").map(PathBuf::from).or_else(home).unwrap_or_default();
    // Several engines, each with an authority of its own: a folder for each, named after its machine.
    let own = folder.join(&host);
    let folder = if own.is_dir() { own } else { folder };
    let name = ServerName::try_from(host.clone()).map_err(|error| unreachable(format!("{host}: {error}"), hint))?;
    let config = Arc::new(config(&folder)?);
    Ok(Way::Tcp { host, port, tls: Some(Tls { config, name, folder }) })
}

/// Trusts the folder's authority alone, and shows the folder's certificate.
fn config(folder: &Path) -> Result<ClientConfig, Unreachable> {
    let hint =
        "DOCKER_CERT_PATH is a folder with ca.pem, cert.pem and key.pem, or with a folder of these for each HOST";
    let wrong =
        |name: &str, error: &dyn Display| unreachable(format!("{}: {error}", folder.join(name).display()), hint);
    let certificates = |name: &str| {
        let found = CertificateDer::pem_file_iter(folder.join(name)).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        found.map_err(|error| wrong(name, &error))
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca.pem")? {
        roots.add(certificate).map_err(|error| wrong("ca.pem", &error))?;
    }
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).map_err(|error| wrong("key.pem", &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| unreachable(error, "this is a mistake of Davy's"))?;
    let config = builder.with_root_certificates(roots).with_client_auth_cert(certificates("cert.pem")?, key);
    config.map_err(|error| wrong("cert.pem", &error))
}

#[cfg(test)]
mod tests {
    use super::{Dial, Way};

    #[test]
    fn addresses_are_taken_apart_and_tricks_refused() {
        let words = |address: &str| match Dial::of(address).map(|dial| dial.map(|dial| dial.way)) {
            Ok(Some(Way::Ssh { words })) => words.join(" "),
            Ok(Some(Way::Tcp { host, port, tls })) => format!("{host} {port} {}", tls.is_some()),
            Ok(None) => "a socket".to_owned(),
            Err(why) => format!("refused: {why}"),
        };
        assert_eq!(words("ssh://deploy@shop.example.com:2222"), "-l deploy -p 2222 -- shop.example.com");
        assert_eq!(words("ssh://shop/"), "-- shop");
        assert_eq!(words("unix:///var/run/docker.sock"), "a socket");
        assert_eq!(words("tcp://127.0.0.1:2375"), "127.0.0.1 2375 false");
        for bad in [
            "ssh://",
            "ssh://-oProxyCommand=x",
            "ssh://-l@host",
            "ssh://a:b@host",
            "ssh://host:x",
            "ssh://host/x",
            "tcp://shop:2375",
            "tcp://127.0.0.1:x",
        ] {
            assert!(words(bad).starts_with("refused"), "{bad}: {}", words(bad));
        }
        assert!(!words("ssh://a:hunter2@host").contains("hunter2"));
    }
}
