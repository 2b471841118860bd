//! TLS from files: which certificate, when it changes, and what becomes of plain requests.

use crate::house::{Gateway, Instance, PATIENCE, raw, steady, trial, until};
use bytes::Bytes;
use davy_ports::Router;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};
use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
    sync::Arc,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// An authority that the clients here trust.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A pair of files for these names; the certificate, to know it again.
    pub(crate) fn issue(&self, folder: &Path, file: &str, names: &[&str]) -> CertificateDer<'static> {
        self.issue_until(folder, file, names, 4096)
    }

    /// From 1975 to a year.
    pub(crate) fn issue_until(&self, folder: &Path, file: &str, names: &[&str], year: i32) -> CertificateDer<'static> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        write(&folder.join(format!("{file}.key")), &key.serialize_pem(), 0o600);
        write(&folder.join(format!("{file}.crt")), &certificate.pem(), 0o644);
        certificate.der().clone()
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    fn trusting(&self, protocols: &[&str]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }
}

fn write(path: &Path, text: &str, mode: u32) {
    let temporary = path.with_extension("temporary");
    fs::write(&temporary, text).unwrap();
    fs::set_permissions(&temporary, fs::Permissions::from_mode(mode)).unwrap();
    fs::rename(&temporary, path).unwrap();
}

/// A gateway with TLS and a folder of certificates, a service on it, and an authority.
pub(crate) async fn secure(
    fill: impl FnOnce(&Authority, &Path),
    words: &[&str],
) -> (Gateway, Instance, Authority, SocketAddr) {
    let folder = TempDir::new().unwrap();
    let certificates = folder.path().join("certificates");
    fs::DirBuilder::new().mode(0o700).create(&certificates).unwrap();
    let authority = Authority::new();
    fill(&authority, &certificates);
    let path = certificates.display().to_string();
    let words: Vec<&str> = ["--tls", "127.0.0.1:0", "--certificates", &path].iter().chain(words).copied().collect();
    let gateway = Gateway::start_in(folder, &words).await;
    let instance = Instance::start("v1").await;
    gateway.client.serve(&steady(1, &[&instance])).await.unwrap();
    let address = gateway.client.hello().await.unwrap().tls.unwrap();
    (gateway, instance, authority, address)
}

pub(crate) async fn shake(
    authority: &Authority,
    address: SocketAddr,
    host: &str,
    protocols: &[&str],
) -> io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    tokio::time::timeout(PATIENCE, authority.trusting(protocols).connect(name, socket)).await.unwrap()
}

/// The certificate that is served for a host.
async fn served(authority: &Authority, address: SocketAddr, host: &str) -> Option<CertificateDer<'static>> {
    let socket = shake(authority, address, host, &[]).await.ok()?;
    Some(socket.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned())
}

#[tokio::test]
async fn the_name_that_is_asked_for_chooses_the_certificate() {
    let mut issued = Vec::new();
    let fill = |authority: &Authority, folder: &Path| {
        issued.push(authority.issue(folder, "shop.test", &["shop.test", "www.shop.test"]));
        issued.push(authority.issue(folder, "star", &["*.shop.test"]));
        // It fits nobody by name; who trusts it all the same is not this test.
        authority.issue(folder, "default", &["other.test", "else.test"]);
    };
    let (_gateway, _instance, authority, address) = secure(fill, &[]).await;
    assert_eq!(served(&authority, address, "shop.test").await.as_ref(), Some(&issued[0]));
    assert_eq!(served(&authority, address, "WWW.shop.test").await.as_ref(), Some(&issued[0]));
    assert_eq!(served(&authority, address, "api.shop.test").await.as_ref(), Some(&issued[1]));
    assert!(served(&authority, address, "a.b.shop.test").await.is_none(), "a star is one label");
    assert!(served(&authority, address, "else.test").await.is_some());
    let error = shake(&authority, address, "nobody.test", &[]).await.unwrap_err().to_string();
    assert!(error.contains("not valid for name"), "the default one is shown to strangers: {error}");
}

#[tokio::test]
async fn without_a_default_strangers_are_refused() {
    let fill = |authority: &Authority, folder: &Path| {
        authority.issue(folder, "one.test", &["one.test"]);
        authority.issue(folder, "two.test", &["two.test"]);
    };
    let (_gateway, _instance, authority, address) = secure(fill, &[]).await;
    assert!(served(&authority, address, "two.test").await.is_some());
    let error = shake(&authority, address, "nobody.test", &[]).await.unwrap_err().to_string();
    assert!(!error.contains("not valid for name"), "{error}");
}

#[tokio::test]
async fn both_kinds_of_http_are_spoken_over_tls_and_the_instance_is_told() {
    let fill = |authority: &Authority, folder: &Path| drop(authority.issue(folder, "a", &["shop.test"]));
    let (_gateway, _instance, authority, address) = secure(fill, &[]).await;
    let mut socket = shake(&authority, address, "shop.test", &["http/1.1"]).await.unwrap();
    socket.write_all(b"GET /headers HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, socket.read_to_string(&mut answer)).await.unwrap().ok();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"x-forwarded-proto\": \"https\""), "{answer}");

    let socket = shake(&authority, address, "shop.test", &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(socket.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://shop.test/headers").body(Empty::<Bytes>::new()).unwrap();
    let response = tokio::time::timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
    let told = String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    assert!(told.contains("\"x-forwarded-proto\": \"https\"") && told.contains("\"host\": \"shop.test\""), "{told}");
}

#[tokio::test]
async fn the_name_of_a_client_that_came_by_tls_is_sent_back_by_tls_only() {
    let fill = |authority: &Authority, folder: &Path| drop(authority.issue(folder, "a", &["shop.test"]));
    let (gateway, instance, authority, address) = secure(fill, &["--redirect", "off"]).await;
    let canary = Instance::start("v2").await;
    let rollout = Some(davy_core::RolloutId::new("r1"));
    let sticky = davy_core::Snapshot { sticky: true, rollout, ..trial(2, 5_000, &instance, &canary) };
    gateway.client.serve(&sticky).await.unwrap();
    let asked = b"GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n";
    let mut socket = shake(&authority, address, "shop.test", &["http/1.1"]).await.unwrap();
    socket.write_all(asked).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, socket.read_to_string(&mut answer)).await.unwrap().ok();
    let cookie = answer.lines().find(|line| line.starts_with("set-cookie: davy-client=")).expect("a name");
    assert!(cookie.ends_with("; Secure"), "{cookie}");
    let answer = raw(gateway.address, asked).await;
    let cookie = answer.lines().find(|line| line.starts_with("set-cookie: davy-client=")).expect("a name");
    assert!(!cookie.contains("Secure"), "{cookie}");
}

#[tokio::test]
async fn a_certificate_that_changes_is_taken_up_and_a_broken_one_is_not() {
    let mut issued = Vec::new();
    let fill = |authority: &Authority, folder: &Path| issued.push(authority.issue(folder, "a", &["shop.test"]));
    let (gateway, _instance, authority, address) = secure(fill, &[]).await;
    let folder = gateway.folder.path().join("certificates");
    let is_served = |certificate: &CertificateDer<'static>| {
        let (authority, certificate) = (&authority, certificate.clone());
        async move { served(authority, address, "shop.test").await.as_ref() == Some(&certificate) }
    };
    assert!(is_served(&issued[0]).await);
    // A connection that is open stays as it is.
    let mut open = shake(&authority, address, "shop.test", &[]).await.unwrap();
    let second = authority.issue(&folder, "a", &["shop.test"]);
    until("the second certificate is served", || is_served(&second)).await;
    // Broken: the chain is none; the key is another's; the key is everybody's.
    let chain = fs::read_to_string(folder.join("a.crt")).unwrap();
    write(&folder.join("a.crt"), "no certificate", 0o644);
    let marker = |name: &str| authority.issue(&folder, name, &[&format!("{name}.test")]);
    for name in ["m1", "m2", "m3"] {
        // Once the marker is served, the folder was looked at since the change.
        let expected = marker(name);
        until("the folder was looked at", || async {
            served(&authority, address, &format!("{name}.test")).await.as_ref() == Some(&expected)
        })
        .await;
        assert!(is_served(&second).await, "the one before serves on");
        match name {
            "m1" => {
                write(&folder.join("a.crt"), &chain, 0o644);
                write(&folder.join("a.key"), &KeyPair::generate().unwrap().serialize_pem(), 0o600);
            }
            _ => {
                let aside = TempDir::new().unwrap();
                authority.issue(aside.path(), "a", &["shop.test"]);
                let of = |name: &str| fs::read_to_string(aside.path().join(name)).unwrap();
                write(&folder.join("a.key"), &of("a.key"), 0o604);
                write(&folder.join("a.crt"), &of("a.crt"), 0o644);
            }
        }
    }
    fs::set_permissions(folder.join("a.key"), fs::Permissions::from_mode(0o600)).unwrap();
    until("the third one is served once its key is private", || async { !is_served(&second).await }).await;
    // A pair that is removed is served no more.
    for name in ["a", "m1", "m2", "m3"] {
        fs::remove_file(folder.join(format!("{name}.crt"))).unwrap();
    }
    until("nothing is served", || async { served(&authority, address, "shop.test").await.is_none() }).await;
    open.write_all(b"GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, open.read_to_string(&mut answer)).await.unwrap().ok();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_plain_request_for_a_host_with_a_certificate_is_sent_to_https() {
    let fill = |authority: &Authority, folder: &Path| drop(authority.issue(folder, "a", &["shop.test", "*.shop.test"]));
    let (gateway, instance, _authority, address) = secure(fill, &[]).await;
    let ask = |host: &str, path: &str| format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    let answer = raw(gateway.address, ask("Shop.test:8080", "/a/b?c=d").as_bytes()).await;
    let location = format!("location: https://Shop.test:{}/a/b?c=d\r\n", address.port());
    assert!(answer.starts_with("HTTP/1.1 308") && answer.contains(&location), "{answer}");
    assert!(raw(gateway.address, ask("www.shop.test", "/").as_bytes()).await.starts_with("HTTP/1.1 308"));
    assert_eq!(instance.hits(), 0);
    assert!(raw(gateway.address, ask("other.test", "/").as_bytes()).await.starts_with("HTTP/1.1 200"));

    let (gateway, ..) = secure(fill, &["--redirect", "443"]).await;
    let answer = raw(gateway.address, ask("shop.test", "/").as_bytes()).await;
    assert!(answer.contains("location: https://shop.test/\r\n"), "{answer}");
    let (gateway, ..) = secure(fill, &["--redirect", "off"]).await;
    assert!(raw(gateway.address, ask("shop.test", "/").as_bytes()).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_process_that_takes_over_has_the_port_for_tls_too_and_may_be_told_to_have_none() {
    let fill = |authority: &Authority, folder: &Path| drop(authority.issue(folder, "a", &["shop.test"]));
    let (mut gateway, _instance, authority, address) = secure(fill, &[]).await;
    let mut open = shake(&authority, address, "shop.test", &[]).await.unwrap();
    let path = gateway.folder.path().join("certificates").display().to_string();
    let mut before = gateway.upgrade(&["--tls", "127.0.0.1:0", "--certificates", &path]).await;
    assert_eq!(gateway.client.hello().await.unwrap().tls, Some(address));
    assert!(served(&authority, address, "shop.test").await.is_some());
    // The connection that the one before has is answered there, for the last time.
    open.write_all(b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, open.read_to_string(&mut answer)).await.unwrap().ok();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    let gone = tokio::task::spawn_blocking(move || before.wait().unwrap());
    assert!(tokio::time::timeout(PATIENCE, gone).await.unwrap().unwrap().success());
    let mut before = gateway.upgrade(&[]).await;
    assert_eq!(gateway.client.hello().await.unwrap().tls, None);
    until("nobody listens for TLS", || async { TcpStream::connect(address).await.is_err() }).await;
    assert_eq!(gateway.get("/").await.1, "v1");
    let gone = tokio::task::spawn_blocking(move || before.wait().unwrap());
    assert!(tokio::time::timeout(PATIENCE, gone).await.unwrap().unwrap().success());
}

#[tokio::test]
async fn who_does_not_shake_hands_holds_nobody_up() {
    let fill = |authority: &Authority, folder: &Path| drop(authority.issue(folder, "a", &["shop.test"]));
    let (_gateway, _instance, authority, address) = secure(fill, &[]).await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    // Plain HTTP on the port for TLS is none.
    let answer = raw(address, b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n").await;
    assert!(!answer.contains("200"), "{answer}");
    assert!(served(&authority, address, "shop.test").await.is_some());
    // They are let go.
    for mut socket in silent {
        tokio::time::timeout(PATIENCE, socket.read(&mut [0; 64])).await.expect("it is let go").ok();
    }
}

#[tokio::test]
async fn options_that_do_not_fit_are_said_at_the_start() {
    let folder = TempDir::new().unwrap();
    let nowhere = folder.path().join("nowhere").display().to_string();
    for (words, said) in [
        (vec!["--tls", "127.0.0.1:0"], "certificates"),
        (vec!["--certificates", "/tmp"], "TLS listener"),
        (vec!["--tls", "127.0.0.1:0", "--certificates", &nowhere], "is no folder"),
        (vec!["--redirect", "perhaps"], "--redirect perhaps"),
    ] {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let child = Gateway::spawn_with(&folder, "127.0.0.1:0", &words, std::process::Stdio::piped());
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(said), "{words:?}: {told}");
    }
}
