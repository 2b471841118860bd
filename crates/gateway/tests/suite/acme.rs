//! Certificates from an authority: Pebble, the test server of the people of Let's Encrypt, which checks every signature and
//! really asks for the challenge. `scripts/setup` installs it.

use crate::{
    house::{Gateway, Instance, raw, steady, until},
    tls::Authority,
};
use davy_core::Route;
use davy_ports::Router;
use std::{
    fs,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};
use tempfile::TempDir;
use tokio::net::TcpStream;

/// Ended when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn run(name: &str, words: &[String]) -> Process {
    let mut command = Command::new(name);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // It waits for seconds before it validates otherwise.
    command.env("PEBBLE_VA_NOSLEEP", "1");
    Process(command.spawn().unwrap_or_else(|error| panic!("{name}: {error}; scripts/setup installs it")))
}

/// A port that is free for both kinds of sockets just now.
fn free() -> SocketAddr {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// An authority that asks for challenges at a port, and a name server that says 127.0.0.1 to everything.
struct Pebble {
    directory: String,
    root: String,
    _processes: [Process; 2],
}

async fn pebble(folder: &Path, port: u16) -> Pebble {
    let [api, management, names, control] = [free(), free(), free(), free()];
    let own = Authority::new();
    own.issue(folder, "pebble", &["127.0.0.1"]);
    let root = folder.join("root.pem");
    fs::write(&root, own.pem()).unwrap();
    let config = serde_json::json!({ "pebble": {
        "listenAddress": api.to_string(), "managementListenAddress": management.to_string(),
        "certificate": folder.join("pebble.crt"), "privateKey": folder.join("pebble.key"),
        "httpPort": port, "tlsPort": 1, "ocspResponderURL": "", "externalAccountBindingRequired": false,
    } });
    let path = folder.join("pebble.json");
    fs::write(&path, config.to_string()).unwrap();
    let none = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""].map(str::to_owned);
    let mut words = ["-dns01", &names.to_string(), "-management", &control.to_string()].map(str::to_owned).to_vec();
    words.extend(none);
    let resolver = run("pebble-challtestsrv", &words);
    let words = ["-config", &path.display().to_string(), "-dnsserver", &names.to_string()].map(str::to_owned);
    let server = run("pebble", &words);
    until("the authority answers", || async { TcpStream::connect(api).await.is_ok() }).await;
    Pebble { directory: format!("https://{api}/dir"), root: root.display().to_string(), _processes: [server, resolver] }
}

/// Who issued what is served for a host.
async fn issuer(address: SocketAddr, host: &str) -> Option<String> {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::{
        DigitallySignedStruct, SignatureScheme,
        pki_types::{CertificateDer, ServerName, UnixTime},
    };
    /// Looks only.
    #[derive(Debug)]
    struct Anybody;
    impl ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256]
        }
    }
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    let socket = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let socket = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, socket).await.ok()?;
    let certificate = socket.get_ref().1.peer_certificates()?.first()?.clone();
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).unwrap();
    Some(parsed.issuer().to_string())
}

#[tokio::test]
async fn hosts_without_a_certificate_get_one_and_it_is_renewed_in_time() {
    let folder = TempDir::new().unwrap();
    let plain = free();
    let pebble = pebble(folder.path(), plain.port()).await;
    let files = folder.path().join("certificates");
    let issued = folder.path().join("state").join("acme");
    for made in [&files, &issued] {
        fs::DirBuilder::new().mode(0o700).recursive(true).create(made).unwrap();
    }
    let own = Authority::new();
    // A person's certificate is left alone, however old; the authority's is past two thirds of its time.
    own.issue_until(&files, "mine", &["mine.test"], 2040);
    own.issue_until(&issued, "old.test", &["old.test"], 2040);
    let certificates = files.display().to_string();
    let words = [
        ["--tls", "127.0.0.1:0"],
        ["--certificates", &certificates],
        ["--acme", &pebble.directory],
        ["--acme-root", &pebble.root],
        ["--acme-contact", "ops@shop.test"],
    ];
    let words: Vec<String> = words.concat().iter().map(ToString::to_string).collect();
    let gateway = Gateway::start_at(folder, &plain.to_string(), words).await;
    let tls = gateway.client.hello().await.unwrap().tls.unwrap();
    let instance = Instance::start("v1").await;
    for (service, host) in [("new", "new.test"), ("old", "old.test"), ("mine", "mine.test"), ("none", "localhost")] {
        let mut snapshot = steady(1, &[&instance]);
        snapshot.key = crate::house::key(service);
        snapshot.route = Route { host: Some(host.to_owned()), path: "/".to_owned() };
        gateway.client.serve(&snapshot).await.unwrap();
    }
    for host in ["new.test", "old.test"] {
        until("the authority's certificate is served", || async {
            // A failure would be tried again in a minute only: it is told at once.
            let all = gateway.client.certificates().await.unwrap();
            assert!(all.iter().all(|certificate| certificate.trouble.is_none()), "{all:?}");
            issuer(tls, host).await.is_some_and(|issuer| issuer.contains("Pebble"))
        })
        .await;
    }
    assert!(!issuer(tls, "mine.test").await.unwrap().contains("Pebble"));
    assert!(issuer(tls, "localhost").await.is_none(), "an authority is not asked for what it cannot know");
    for name in ["account.json", "new.test.key", "new.test.crt"] {
        let mode = fs::metadata(issued.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    // Nothing is promised any more, and the path is a service's own again.
    let ask = "GET /.well-known/acme-challenge/x HTTP/1.1\r\nhost: new.test\r\nconnection: close\r\n\r\n";
    assert!(raw(gateway.address, ask.as_bytes()).await.starts_with("HTTP/1.1 308"));
    let all = gateway.client.certificates().await.unwrap();
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(all.iter().all(|certificate| certificate.trouble.is_none() && certificate.ends.is_some()), "{all:?}");
}

#[tokio::test]
async fn an_authority_that_does_not_answer_is_left_alone_for_a_while() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = format!("https://{}/dir", nobody.local_addr().unwrap());
    nobody.set_nonblocking(true).unwrap();
    let asked = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let (counted, listener) = (asked.clone(), tokio::net::TcpListener::from_std(nobody).unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            drop(socket);
        }
    });
    let words = ["--tls", "127.0.0.1:0", "--acme", &directory];
    let gateway = Gateway::start_in(TempDir::new().unwrap(), &words).await;
    let instance = Instance::start("v1").await;
    let mut snapshot = steady(1, &[&instance]);
    snapshot.route = Route { host: Some("shop.test".to_owned()), path: "/".to_owned() };
    gateway.client.serve(&snapshot).await.unwrap();
    let is_told = |gateway: &Gateway| {
        let client = gateway.client.clone();
        async move {
            let all = client.certificates().await.unwrap();
            all.iter().any(|known| known.names == ["shop.test"] && known.ends.is_none() && known.trouble.is_some())
        }
    };
    until("the trouble is told", || is_told(&gateway)).await;
    let before = asked.load(std::sync::atomic::Ordering::Relaxed);
    assert!(before >= 1);
    // Neither time nor a restart makes it ask again at once.
    let gateway = gateway.crash().await;
    until("the trouble is told by the next one, too", || is_told(&gateway)).await;
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), before);
    // Plain traffic goes on.
    let ask = "GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n";
    assert!(raw(gateway.address, ask.as_bytes()).await.starts_with("HTTP/1.1 200"));
}
