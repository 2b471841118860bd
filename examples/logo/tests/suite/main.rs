//! The three versions as a client sees them, and the program's own words when it is told nonsense.

use davy_logo::{Options, Version, serve_on};
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::Command,
    time::{Duration, Instant},
};

/// Serves on a free port for as long as the test's process lives.
fn start(options: Options) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            listener.set_nonblocking(true).expect("not blocking");
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            serve_on(listener, options).await
        })
    });
    address
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

fn ask(address: SocketAddr, method: &str, path: &str) -> std::io::Result<Answer> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(socket, "{method} {path} HTTP/1.1\r\nhost: logo\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path).expect("an answer")
}

#[test]
fn each_version_says_which_it_is_and_shows_its_own_logo() {
    let mut logos = Vec::new();
    for version in [Version::V1, Version::V2, Version::V3] {
        let address = start(Options { error_rate: 0.0, ..Options::new(0, version) });
        assert_eq!(get(address, "/version").body, format!("{version}\n"));
        assert_eq!(get(address, "/healthz").status, 200);
        let page = get(address, "/");
        assert_eq!(page.status, 200);
        assert!(page.head.contains(&format!("x-version: {version}")), "{}", page.head);
        assert!(page.body.contains("<svg") && page.body.contains(version.name()), "{}", page.body);
        let logo = get(address, "/logo.svg");
        assert!(logo.head.contains("image/svg+xml"), "{}", logo.head);
        logos.push(logo.body);
        assert_eq!(get(address, "/nothing").status, 404);
        assert_eq!(ask(address, "POST", "/").expect("an answer").status, 405);
    }
    let is_grey = |colour: &str| colour == "#000000" || colour == "#ffffff";
    let colours = |svg: &str| -> Vec<String> {
        svg.match_indices("\"#").filter_map(|(at, _)| svg.get(at + 1..at + 8)).map(str::to_owned).collect()
    };
    assert!(colours(&logos[0]).iter().all(|colour| is_grey(colour)), "v1 is black and white");
    assert!(colours(&logos[1]).iter().any(|colour| !is_grey(colour)), "v2 is in colour");
}

#[test]
fn v3_fails_at_its_rate_but_stays_healthy_and_v2_never_fails() {
    let seed = 7;
    let bad = start(Options { seed: Some(seed), ..Options::new(0, Version::V3) });
    let good = start(Options::new(0, Version::V2));
    let mut failed = 0;
    for _ in 0..500 {
        let answer = get(bad, "/");
        assert!([200, 500].contains(&answer.status));
        failed += u32::from(answer.status == 500);
        assert_eq!(get(bad, "/healthz").status, 200);
        assert_eq!(get(good, "/").status, 200);
    }
    // 500 draws at 20 %: five standard deviations either side; the seed makes it the same every time.
    assert!((55..=145).contains(&failed), "{failed} of 500 failed with seed {seed}");
}

#[test]
fn the_program_serves_on_the_port_it_is_given() {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).expect("a free port").port();
    let mut child = Command::new(env!("CARGO_BIN_EXE_logo"))
        .args(["--port", &port.to_string(), "--version=v2", "--error-rate", "100%"])
        .spawn()
        .expect("the program starts");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let deadline = Instant::now() + Duration::from_secs(30);
    let answer = loop {
        match ask(address, "GET", "/version") {
            Ok(answer) => break Some(answer),
            Err(_) if Instant::now() > deadline => break None,
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    child.kill().and_then(|()| child.wait()).expect("it can be stopped");
    assert_eq!(answer.map(|answer| answer.status), Some(500));
}

#[test]
fn nonsense_is_refused_with_what_would_be_right() {
    for (words, says) in [
        (vec![], "--port is missing"),
        (vec!["--port", "x"], "0 to 65535"),
        (vec!["--port", "1", "--version", "v9"], "v1, v2 or v3"),
        (vec!["--port", "1", "--error-rate", "5"], "with its unit"),
        (vec!["--port", "1", "--error-rate", "NaN%"], "0% to 100%"),
        (vec!["--port", "1", "--latency", "5"], "with its unit"),
        (vec!["--port"], "needs a value"),
        (vec!["--prot", "1"], "not an option"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_logo")).args(&words).output().expect("the program starts");
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {message}");
        assert!(message.contains(says) && message.contains("usage:"), "{words:?}: {message}");
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_logo")).args(["--port", &port]).output().expect("the program starts");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && message.contains(&port), "{message}");
}
