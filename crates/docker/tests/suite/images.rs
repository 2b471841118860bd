//! Names, digests, registries.

use crate::engine::{Engine, container, prepared, workload};
use davy_ports::Retry;
use std::net::TcpListener;

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
    let error = davy_ports::Platform::ensure(&place, &engine.order(&release, 1)).await.expect_err("gone");
    assert!(error.retry == Retry::Never && error.hint.contains("build it again"), "{error}: {}", error.hint);
}
