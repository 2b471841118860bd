//! HTTP/2 towards clients, and gRPC through to instances.

use crate::house::{Gateway, Instance, PATIENCE, key, steady, sum, until};
use bytes::Bytes;
use davy_core::{Backend, InstanceId};
use davy_ports::Router;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Version,
    body::{Frame, Incoming},
    client::conn::http2::{self, SendRequest},
    header,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{convert::Infallible, net::SocketAddr, sync::atomic::Ordering::Relaxed};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

type Sent = BoxBody<Bytes, Infallible>;

fn whole(text: impl Into<Bytes>) -> Sent {
    Full::new(text.into()).boxed()
}

/// A body that is said word by word.
fn spoken() -> (UnboundedSender<Bytes>, Sent) {
    let (say, said) = unbounded_channel();
    let frames = futures_util::stream::unfold(said, |mut said: UnboundedReceiver<Bytes>| async move {
        let bytes = said.recv().await?;
        Some((Ok(Frame::data(bytes)), said))
    });
    (say, BodyExt::boxed(StreamBody::new(frames)))
}

async fn open(address: SocketAddr) -> SendRequest<Sent> {
    let socket = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn send(sender: &mut SendRequest<Sent>, request: Request<Sent>) -> Response<Incoming> {
    tokio::time::timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap()
}

fn get(path: &str) -> Request<Sent> {
    Request::get(format!("http://shop.test{path}")).body(whole("")).unwrap()
}

async fn shop() -> (Gateway, Instance) {
    let gateway = Gateway::start().await;
    let instance = Instance::start("v1").await;
    gateway.client.serve(&steady(1, &[&instance])).await.unwrap();
    (gateway, instance)
}

#[tokio::test]
async fn requests_of_one_connection_go_their_own_ways_to_instances_of_http1() {
    let (gateway, instance) = shop().await;
    let sender = open(gateway.address).await;
    let asked = (0..50).map(|number| {
        let mut sender = sender.clone();
        async move {
            let mut request = get(if number == 0 { "/hold" } else { "/echo" });
            *request.body_mut() = whole(vec![b'x'; number * 1000]);
            let response = send(&mut sender, request).await;
            assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_2));
            response.into_body().collect().await.unwrap().to_bytes().len()
        }
    });
    // The first waits, and holds nobody up.
    let mut asked: Vec<_> = asked.collect();
    let held = tokio::spawn(asked.remove(0));
    let lengths = futures_util::future::join_all(asked).await;
    assert_eq!(lengths, (1..50).map(|number| number * 1000).collect::<Vec<_>>());
    instance.release.notify_one();
    assert_eq!(tokio::time::timeout(PATIENCE, held).await.unwrap().unwrap(), 2);
    let windows = gateway.windows(None, |windows| sum(windows, "v1").answered == 50).await;
    assert_eq!(sum(&windows, "v1").failures.total(), 0);
    assert!(instance.heads.lock().unwrap().iter().all(|head| head.contains("HTTP/1.1")));
}

#[tokio::test]
async fn a_head_is_told_to_the_instance_in_the_form_of_http1() {
    let (gateway, _instance) = shop().await;
    let mut sender = open(gateway.address).await;
    let mut request = get("/headers?a=b");
    for (name, value) in [
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("te", "trailers"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "https"),
        ("x-kept", "yes"),
    ] {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let response = send(&mut sender, request).await;
    let told = crate::house::text(response).await.unwrap();
    for kept in [
        "\"host\": \"shop.test\"",
        "\"cookie\": \"a=1; b=2\"",
        "\"x-forwarded-for\": \"127.0.0.1\"",
        "\"x-forwarded-proto\": \"http\"",
        "\"x-kept\": \"yes\"",
    ] {
        assert!(told.contains(kept), "{kept} is missing: {told}");
    }
    for gone in ["6.6.6.6", "\"te\"", ":authority"] {
        assert!(!told.contains(gone), "{gone} is there: {told}");
    }
    // What the gateway says of a connection to an instance is nothing to an HTTP/2 client.
    let response = send(&mut sender, get("/")).await;
    assert!(!response.headers().contains_key(header::CONNECTION), "{response:?}");
}

#[tokio::test]
async fn what_is_ambiguous_is_refused_in_http2_too() {
    let (gateway, instance) = shop().await;
    let mut sender = open(gateway.address).await;
    let mut other = get("/");
    other.headers_mut().insert(header::HOST, "other.test".parse().unwrap());
    assert_eq!(send(&mut sender, other).await.status(), StatusCode::BAD_REQUEST);
    let connect = Request::builder().method(Method::CONNECT).uri("shop.test:80").body(whole("")).unwrap();
    assert_eq!(send(&mut sender, connect).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(instance.hits(), 0);
    // The connection goes on.
    assert_eq!(send(&mut sender, get("/")).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_stream_that_the_client_resets_is_nobodys_failure() {
    let (gateway, instance) = shop().await;
    let mut sender = open(gateway.address).await;
    let asking = tokio::spawn({
        let mut sender = sender.clone();
        async move { sender.send_request(get("/hold")).await.map(|_| ()) }
    });
    until("a request is held", || async { instance.held.load(Relaxed) == 1 }).await;
    asking.abort();
    let windows = gateway.windows(None, |windows| sum(windows, "v1").client_gone == 1).await;
    assert_eq!(sum(&windows, "v1").failures.total(), 0);
    assert_eq!(send(&mut sender, get("/")).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_large_answer_waits_for_its_client_in_http2_too() {
    let (gateway, _instance) = shop().await;
    let mut sender = open(gateway.address).await;
    let mut body = send(&mut sender, get("/flood")).await.into_body();
    let mut total = 0;
    while let Some(frame) = tokio::time::timeout(PATIENCE, body.frame()).await.unwrap() {
        total += frame.unwrap().data_ref().map_or(0, |data| data.len() as u64);
    }
    assert_eq!(total, crate::house::FLOOD * 1024 * 1024);
    assert!(gateway.peak() < 64 * 1024, "{} kB at most", gateway.peak());
}

/// An instance that speaks HTTP/2 only and does as the method's name says.
async fn grpc_instance() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(socket), service_fn(grpc)),
            );
        }
    });
    address
}

async fn grpc(request: Request<Incoming>) -> Result<Response<BoxBody<Bytes, hyper::Error>>, Infallible> {
    let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
    let mut response = Response::builder().header(header::CONTENT_TYPE, "application/grpc");
    if let Some(status) = method.strip_prefix("Only") {
        response = response.header("grpc-status", status);
        let empty = http_body_util::Empty::new().map_err(|never| match never {});
        return Ok(response.body(empty.boxed()).unwrap());
    }
    let told = format!("{:?} {} {:?}", request.version(), request.uri(), request.headers());
    response = response.header("x-told", told);
    let mut request = request;
    if method == "Never" {
        return std::future::pending().await;
    }
    if method == "Waits" {
        // Its head comes with its first answer, as in many a library.
        let first = request.body_mut().frame().await.unwrap().unwrap();
        assert!(first.is_data());
    }
    let status = method.strip_prefix("Ends").map(str::to_owned);
    let trailers = futures_util::stream::iter(status.map(|status| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", status.parse().unwrap());
        Ok(Frame::trailers(trailers))
    }));
    let echoed = request.into_body().into_data_stream().map(|data| data.map(Frame::data));
    Ok(response.body(BodyExt::boxed(StreamBody::new(echoed.chain(trailers)))).unwrap())
}

fn call(method: &str, body: Sent) -> Request<Sent> {
    Request::post(format!("http://shop.test/pkg.Service/{method}"))
        .header(header::CONTENT_TYPE, "application/grpc+proto")
        .header(header::TE, "trailers")
        .body(body)
        .unwrap()
}

async fn grpc_shop() -> Gateway {
    let gateway = Gateway::start().await;
    let address = grpc_instance().await;
    let mut snapshot = steady(1, &[]);
    snapshot.health.path = None;
    snapshot.serve[0].instances = vec![Backend { id: InstanceId::new("grpc"), address }];
    gateway.client.serve(&snapshot).await.unwrap();
    gateway
}

#[tokio::test]
async fn a_grpc_call_streams_both_ways_and_ends_with_its_status() {
    let gateway = grpc_shop().await;
    let mut sender = open(gateway.address).await;
    let (say, body) = spoken();
    let response = send(&mut sender, call("Ends0", body)).await;
    let told = response.headers()["x-told"].to_str().unwrap().to_owned();
    assert!(told.contains("HTTP/2.0 http://shop.test/pkg.Service/Ends0"), "{told}");
    assert!(told.contains("\"te\": \"trailers\"") && told.contains("\"x-forwarded-for\": \"127.0.0.1\""), "{told}");
    let mut body = response.into_body();
    for word in ["first", "second", "third"] {
        // The next is sent only once this one is back.
        say.send(Bytes::from(word)).unwrap();
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), word);
    }
    let serving = gateway.client.observe(&key("shop")).await.unwrap().unwrap();
    assert_eq!(serving.in_flight(&crate::house::release("v1")), 1);
    drop(say);
    let trailers = tokio::time::timeout(PATIENCE, body.frame()).await.unwrap().unwrap().unwrap();
    assert_eq!(trailers.into_trailers().unwrap()["grpc-status"], "0");
    let windows = gateway.windows(None, |windows| sum(windows, "v1").answered == 1).await;
    assert_eq!(sum(&windows, "v1").failures.total(), 0);
}

#[tokio::test]
async fn a_call_that_streams_may_be_silent_for_longer_than_the_wait_for_an_answer_and_another_may_not() {
    let gateway = grpc_shop().await;
    let mut snapshot = gateway.client.observe(&key("shop")).await.unwrap().unwrap().snapshot;
    snapshot.generation = snapshot.generation.next();
    snapshot.timeout = davy_core::Millis(300);
    gateway.client.serve(&snapshot).await.unwrap();
    let sender = open(gateway.address).await;
    let (say, body) = spoken();
    let mut asking = sender.clone();
    let waiting = tokio::spawn(async move { send(&mut asking, call("Waits", body)).await });
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    say.send(Bytes::from_static(b"first")).unwrap();
    assert_eq!(waiting.await.unwrap().status(), StatusCode::OK);
    // Once all of it was said, an answer is due.
    let late = send(&mut sender.clone(), call("Never", whole("hi"))).await;
    assert_eq!(late.status(), StatusCode::GATEWAY_TIMEOUT);
    gateway.windows(None, |windows| sum(windows, "v1").failures.timeout == 1).await;
}

#[tokio::test]
async fn what_a_grpc_status_says_of_the_instance_is_counted() {
    let gateway = grpc_shop().await;
    let sender = open(gateway.address).await;
    // UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS are the instance's; the rest is not.
    let faults = [2, 4, 12, 13, 14, 15];
    for status in 0..=16 {
        for method in [format!("Ends{status}"), format!("Only{status}")] {
            let response = send(&mut sender.clone(), call(&method, whole("hi"))).await;
            assert_eq!(response.status(), StatusCode::OK);
            let only = response.headers().get("grpc-status").cloned();
            let ended = response.into_body().collect().await.unwrap();
            let said = only.or_else(|| ended.trailers().and_then(|trailers| trailers.get("grpc-status").cloned()));
            assert_eq!(said.unwrap().to_str().unwrap(), status.to_string(), "{method}");
        }
    }
    let answered = |count| move |windows: &[davy_core::Window]| sum(windows, "v1").answered == count;
    let windows = gateway.windows(None, answered(34)).await;
    assert_eq!(sum(&windows, "v1").failures.status, 2 * faults.len() as u64);
    // An answer that ends without a status is a failure to every client.
    let response = send(&mut sender.clone(), call("Silent", whole("hi"))).await;
    response.into_body().collect().await.unwrap();
    let windows = gateway.windows(None, answered(35)).await;
    assert_eq!(sum(&windows, "v1").failures.status, 2 * faults.len() as u64 + 1);
}

#[tokio::test]
async fn a_grpc_instance_that_is_gone_is_refused_and_more_calls_than_one_connection_takes_are_served() {
    let gateway = grpc_shop().await;
    let sender = open(gateway.address).await;
    let calls = (0..120).map(|_| {
        let mut sender = sender.clone();
        async move {
            let (say, body) = spoken();
            let response = send(&mut sender, call("Ends0", body)).await;
            (say, response)
        }
    });
    let open_calls = futures_util::future::join_all(calls).await;
    for (say, response) in open_calls {
        drop(say);
        let ended = response.into_body().collect().await.unwrap();
        assert_eq!(ended.trailers().unwrap()["grpc-status"], "0");
    }
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut snapshot = steady(2, &[]);
    snapshot.serve[0].instances = vec![Backend { id: InstanceId::new("gone"), address: gone }];
    gateway.client.serve(&snapshot).await.unwrap();
    let response = send(&mut sender.clone(), call("Ends0", whole(""))).await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    gateway.windows(None, |windows| sum(windows, "v1").failures.refused == 1).await;
}
