//! What reaches the gateway: frames of its control socket, what it is told to hold, heads of requests, whole connections.

use crate::strict::requests;
use davy_core::{
    Backend, EnvironmentName, Generation, HealthCheck, InstanceId, Millis, ReleaseId, Role, Route, ServiceKey,
    ServiceName, Snapshot, Target, Weight,
};
use davy_gateway::fuzz;
use std::{cell::RefCell, net::SocketAddr, rc::Rc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    task::{LocalSet, spawn_local},
};

/// Between what a client says and what the instance answers, where that is said, too.
const ANSWER: &[u8] = b"\n==answer==\n";
/// Longer than any connection takes that does not hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// The first byte says what the others are: `f`rames, what is `h`eld, the `r`equest's head; anything else is a connection.
pub(crate) fn body(bytes: &[u8]) {
    match bytes.split_first() {
        Some((b'f', rest)) => fuzz::frames(rest),
        Some((b'h', rest)) => fuzz::held(rest),
        Some((b'r', rest)) => fuzz::heads(rest),
        Some((b'c', rest)) => connection(rest),
        _ => connection(bytes),
    }
}

thread_local! {
    static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
}

/// A client's connection, byte for byte: what reaches the instance can be read in one way only, and says who asked.
fn connection(bytes: &[u8]) {
    let at = bytes.windows(ANSWER.len()).position(|part| part == ANSWER);
    let (said, answer) = match at {
        Some(at) => (&bytes[..at], Some(bytes[at + ANSWER.len()..].to_vec())),
        None => (bytes, None),
    };
    let local = LocalSet::new();
    let serving = local.run_until(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let heard = Rc::new(RefCell::new(Vec::new()));
        spawn_local(instance(listener, heard.clone(), answer));
        let answered = tokio::time::timeout(PATIENCE, fuzz::served(said, snapshot(address))).await;
        let answered = answered.expect("a connection ends once its client has").expect("it is served");
        (answered, heard.take())
    });
    let (answered, heard) = RUNTIME.with(|runtime| runtime.block_on(serving));
    let mut seen = Vec::new();
    for bytes in &heard {
        // A gRPC call is asked in HTTP/2, and in nothing else.
        if bytes.starts_with(b"PRI * HTTP/2.0\r\n") {
            assert!(said.starts_with(b"PRI * HTTP/2.0\r\n"), "nobody called");
            continue;
        }
        let read = requests(bytes);
        let text = || String::from_utf8_lossy(bytes);
        seen.extend(read.unwrap_or_else(|why| panic!("the instance got {why}: {}", text())));
    }
    for asked in &seen {
        let of = |name: &str| -> Vec<&str> {
            asked.heads.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
        };
        assert_eq!(of("x-forwarded-for"), ["127.0.0.1"], "{asked:?}");
        assert_eq!(of("x-forwarded-proto"), ["http"], "{asked:?}");
        for gone in ["forwarded", "x-real-ip", "proxy-authorization", "proxy-connection", "keep-alive"] {
            assert!(of(gone).is_empty(), "{gone} reached the instance: {asked:?}");
        }
    }
    // A line may end in LF alone, which the strict reader takes for no end.
    let is_end = |at: usize| said[at] == b'\n' && (at == 0 || said[at - 1] != b'\r');
    let is_bare = (0..said.len()).any(is_end);
    if let (Ok(meant), None, false) = (requests(said), at, is_bare) {
        // What a strict reader sees in it is all that there is: in the same order, with the same bodies.
        let mut meant = meant.iter();
        for asked in &seen {
            let method = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
            let found = meant.any(|meant| meant.body == asked.body && method(&meant.line) == method(&asked.line));
            let told: Vec<_> = heard.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect();
            assert!(found, "nobody asked {asked:?} of {told:?}, answered {:?}", String::from_utf8_lossy(&answered));
        }
        let done = String::from_utf8_lossy(&answered).matches("HTTP/1.1 200").count();
        assert!(done <= seen.len(), "{done} answers to {} requests", seen.len());
    }
}

/// Answers each whole request, or with what it is told to once it was asked anything; keeps what each connection brings.
async fn instance(listener: TcpListener, heard: Rc<RefCell<Vec<Vec<u8>>>>, answer: Option<Vec<u8>>) {
    while let Ok((socket, _)) = listener.accept().await {
        let number = heard.borrow().len();
        heard.borrow_mut().push(Vec::new());
        spawn_local(converse(socket, heard.clone(), number, answer.clone()));
    }
}

async fn converse(mut socket: TcpStream, heard: Rc<RefCell<Vec<Vec<u8>>>>, number: usize, answer: Option<Vec<u8>>) {
    let (mut answered, mut room) = (0, [0; 4096]);
    while let Ok(read @ 1..) = socket.read(&mut room).await {
        let whole = {
            let mut all = heard.borrow_mut();
            let Some(own) = all.get_mut(number) else { return };
            own.extend_from_slice(&room[..read]);
            requests(own).map_or(0, |whole| whole.len())
        };
        if let Some(answer) = &answer {
            socket.write_all(answer).await.ok();
            socket.shutdown().await.ok();
            return;
        }
        for _ in answered..whole {
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.ok();
        }
        answered = whole;
    }
}

fn snapshot(address: SocketAddr) -> Snapshot {
    let release = ReleaseId::new("v1");
    let instances = vec![Backend { id: InstanceId::new("i1"), address }];
    let target = Target { release, role: Role::Stable, weight: Weight::ALL, instances };
    Snapshot {
        key: ServiceKey {
            service: ServiceName::new("shop").expect("a name"),
            environment: EnvironmentName::new("production").expect("a name"),
        },
        generation: Generation(1),
        rollout: None,
        route: Route { host: None, path: "/".to_owned() },
        serve: vec![target],
        fallback: None,
        lease: None,
        health: HealthCheck { path: None, grace: Millis::seconds(60), interval: Millis::seconds(60) },
        timeout: Millis::seconds(5),
        matches: Vec::new(),
        mirror: None,
        sticky: false,
        guard: None,
        slow_over: None,
    }
}
