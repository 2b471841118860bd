//! Names, digests, registries.

use crate::engine::{Engine, container, prepared, workload};
use davy_core::Source;
use davy_docker::{DockerPlatform, Options};
use davy_ports::{Error, Platform, Prepared, Retry};
use std::{
    io::{Read, Write},
    net::TcpListener,
    os::unix::net::UnixListener,
};

#[tokio::test]
async fn an_image_that_is_nowhere_is_told() {
    let engine = Engine::start();
    let place = engine.place();
    // Nobody answers at this registry.
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    let error = prepared(&place, &workload(container(&format!("{closed}/logo:1")))).await.expect_err("refused");
    assert!(error.to_string().contains(&closed.to_string()), "{error}");
    assert!(error.hint.contains("registry"), "{error}: {}", error.hint);
    let digest = "0".repeat(64);
    let error =
        prepared(&place, &workload(container(&format!("{closed}/logo@sha256:{digest}")))).await.expect_err("refused");
    assert!(error.hint.contains("registry"), "{error}: {}", error.hint);
    // An image that was built here and is there no more.
    engine.image("web:1", "one", &[]);
    let there = workload(container("web:1"));
    let digest = prepared(&place, &there).await.expect("there");
    engine.said(&["rmi", "--force", digest.as_str()]);
    let release = davy_core::Release::new(&crate::engine::key(), digest, there);
    let error = Platform::ensure(&place, &engine.order(&release, 1)).await.expect_err("gone");
    assert!(error.retry == Retry::Never && error.hint.contains("build it again"), "{error}: {}", error.hint);
}

const ID: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
const OTHER: &str = "sha256:2222222222222222222222222222222222222222222222222222222222222222";

/// What comes of `logo:v1` on an engine that says this of it, when the registry answers so. Debian's engine has not the store that
/// these answers are of: only they are made up.
async fn prepared_from(image: &str, registry: (u16, String)) -> Result<Prepared, Error> {
    let folder = tempfile::tempdir_in("/tmp").expect("a folder");
    let socket = folder.path().join("s");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let image = format!("{{\"Id\":\"{ID}\",\"RepoTags\":[\"logo:v1\"],\"Config\":{{}},{image}}}");
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut bytes = [0; 4096];
            let Ok(length @ 1..) = client.read(&mut bytes) else { continue };
            let asked = String::from_utf8_lossy(&bytes[..length]).into_owned();
            let (status, body) = match asked.lines().next().unwrap_or_default() {
                line if line.contains("/version") => (200, r#"{"ApiVersion":"1.53","Version":"29.3"}"#.to_owned()),
                line if line.contains("/distribution/") => registry.clone(),
                line if line.contains("/images/logo") => (200, image.clone()),
                _ => (404, r#"{"message":"page not found"}"#.to_owned()),
            };
            let head = format!("HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nConnection: close\r\n");
            write!(client, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).ok();
        }
    });
    let host = format!("unix://{}", socket.display());
    let place = DockerPlatform::open(Options::at(folder.path().join("data"), Some(host))).expect("a place");
    let source = Source { folder: "/".into() };
    place.prepare(&crate::engine::key(), &source, &workload(container("logo:v1"))).await
}

#[tokio::test]
async fn an_image_built_here_is_known_in_either_store() {
    let refused = |status, message: &str| (status, format!("{{\"message\":\"{message}\"}}"));
    let knows = || (200, format!("{{\"Descriptor\":{{\"digest\":\"{OTHER}\"}},\"Platforms\":[]}}"));
    let denied = || refused(401, "errors: denied: requested access to the resource is denied");
    let everywhere = format!("\"RepoDigests\":[\"logo@{ID}\"]");
    let built = format!("{everywhere},\"Identity\":{{\"Build\":[{{\"Ref\":\"x\"}}]}}");
    let pulled = format!("{everywhere},\"Identity\":{{\"Pull\":[{{\"Repository\":\"docker.io/library/logo\"}}]}}");
    let other = format!("\"RepoDigests\":[\"logo@{OTHER}\"]");
    let (own, theirs) = (ID.to_owned(), format!("logo@{OTHER}"));
    // The engine says that it was built there, by either store's way: nobody is asked.
    for image in [&built, &"\"RepoDigests\":[]".to_owned()] {
        let found = prepared_from(image, knows()).await.expect("it is there");
        assert_eq!((found.digest.to_string(), found.notices.len()), (own.clone(), 0), "{image}");
    }
    // A registry gave it, or may have: it says what the tag stands for now.
    for image in [&pulled, &everywhere, &other] {
        let found = prepared_from(image, knows()).await.expect("it is there");
        assert_eq!((found.digest.to_string(), found.notices.len()), (theirs.clone(), 0), "{image}");
    }
    // The engine does not tell, and the registry has none.
    for answer in [denied(), refused(404, "manifest unknown: manifest unknown")] {
        let found = prepared_from(&everywhere, answer).await.expect("it is there");
        assert_eq!(found.digest.to_string(), own);
        assert!(found.notices[0].contains("docker.io has no image logo:v1"), "{:?}", found.notices);
    }
    // A registry that cannot be asked says nothing; one that gave it and denies it now is not talked over.
    let lost = refused(500, "dial tcp: lookup registry-1.docker.io: no such host");
    assert!(prepared_from(&everywhere, lost).await.expect_err("unknown").hint.contains("reaches the registry"));
    for image in [&pulled, &other] {
        let error = prepared_from(image, denied()).await.expect_err("denied");
        assert!(error.hint.contains("docker login"), "{error}: {}", error.hint);
    }
}
