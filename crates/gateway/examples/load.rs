//! An open-loop load generator for the benchmarks: requests start when they are due (a Poisson process), whether or not
//! earlier ones were answered, and a latency counts from when its request was due. So a stall of the server is seen in
//! full ("coordinated omission" cannot happen).
//!
//! `load --to ADDRESS --rate N --seconds N|--requests N [--connections N] [--seed N]` prints one line of JSON; latencies in
//! microseconds. One thread, no runtime: its own delays are small against a proxy's.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

struct Options {
    to: SocketAddr,
    rate: f64,
    seconds: f64,
    requests: u64,
    connections: usize,
    seed: u64,
}

struct Connection {
    socket: TcpStream,
    due: Option<Instant>,
    read: Vec<u8>,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        to: ([127, 0, 0, 1], 80).into(),
        rate: 0.0,
        seconds: 0.0,
        requests: u64::MAX,
        connections: 64,
        seed: 1,
    };
    let mut words = std::env::args().skip(1);
    while let Some(name) = words.next() {
        let value = words.next().ok_or_else(|| format!("{name} needs a value"))?;
        let bad = |error: &dyn std::fmt::Display| format!("{name} {value}: {error}");
        match name.as_str() {
            "--to" => options.to = value.parse().map_err(|error| bad(&error))?,
            "--rate" => options.rate = value.parse().map_err(|error| bad(&error))?,
            "--seconds" => options.seconds = value.parse().map_err(|error| bad(&error))?,
            "--requests" => {
                options.requests = value.parse().map_err(|error| bad(&error))?;
                options.seconds = 3600.0;
            }
            "--connections" => options.connections = value.parse().map_err(|error| bad(&error))?,
            "--seed" => options.seed = value.parse().map_err(|error| bad(&error))?,
            _ => return Err(format!("{name} is not known")),
        }
    }
    if options.rate <= 0.0 || options.seconds <= 0.0 {
        Err("give --rate and --seconds".to_owned())
    } else {
        Ok(options)
    }
}

/// The length of the whole first answer in the bytes, once all of it is there, and whether it is a 200.
fn answer(bytes: &[u8]) -> Option<(usize, bool)> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") { value.trim().parse::<usize>().ok() } else { None }
    });
    let whole = head + length.unwrap_or(0);
    (bytes.len() >= whole).then_some((whole, text.starts_with("HTTP/1.1 200")))
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a benchmark")]
fn main() -> io::Result<()> {
    let options = options().map_err(io::Error::other)?;
    // Wake when asked, not up to 50 µs later.
    rustix::thread::set_current_timer_slack(std::num::NonZero::new(1)).ok();
    let mut dice = fastrand::Rng::with_seed(options.seed);
    let open = || -> io::Result<Connection> {
        let socket = TcpStream::connect(options.to)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Connection { socket, due: None, read: Vec::new() })
    };
    let mut connections = (0..options.connections).map(|_| open()).collect::<io::Result<Vec<_>>>()?;
    // In turn, so that each of them is used.
    let mut idle: VecDeque<usize> = (0..connections.len()).collect();
    let mut waiting: VecDeque<Instant> = VecDeque::new();
    let mut latencies: Vec<u64> = Vec::with_capacity(((options.rate * options.seconds * 1.1) as usize).min(1 << 22));
    let (mut failed, mut late) = (0_u64, 0_u64);
    let begin = Instant::now();
    let end = begin + Duration::from_secs_f64(options.seconds);
    let grace = end + Duration::from_secs(5);
    let mut next = begin;
    let mut left = options.requests;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let now = Instant::now();
        while next <= now && next < end && left > 0 {
            left -= 1;
            waiting.push_back(next);
            next += Duration::from_secs_f64(-(1.0 - dice.f64()).ln() / options.rate);
        }
        while let Some(due) = waiting.front().copied() {
            let Some(index) = idle.pop_front() else { break };
            waiting.pop_front();
            late += u64::from(due.elapsed() > Duration::from_millis(1));
            let connection = &mut connections[index];
            connection.due = Some(due);
            if connection
                .socket
                .write_all(b"GET /item HTTP/1.1\r\nHost: shop.test\r\nUser-Agent: load\r\nAccept: */*\r\n\r\n")
                .is_err()
            {
                failed += 1;
                *connection = open()?;
                idle.push_back(index);
            }
        }
        let busy: Vec<usize> = (0..connections.len()).filter(|index| connections[*index].due.is_some()).collect();
        if now >= grace || ((next >= end || left == 0) && busy.is_empty() && waiting.is_empty()) {
            failed += (busy.len() + waiting.len()) as u64;
            break;
        }
        let until = if next < end && left > 0 { next } else { grace };
        let wait = until.saturating_duration_since(Instant::now());
        let wait = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
        let ready: Vec<usize> = {
            let mut polled: Vec<PollFd<'_>> =
                busy.iter().map(|index| PollFd::new(&connections[*index].socket, PollFlags::IN)).collect();
            poll(&mut polled, Some(&wait))?;
            busy.iter().zip(&polled).filter(|(_, poll)| !poll.revents().is_empty()).map(|(index, _)| *index).collect()
        };
        for index in ready {
            let connection = &mut connections[index];
            match connection.socket.read(&mut buffer) {
                Ok(0) => {
                    failed += 1;
                    *connection = open()?;
                    idle.push_back(index);
                }
                Ok(read) => {
                    connection.read.extend_from_slice(&buffer[..read]);
                    if let Some((_, well)) = answer(&connection.read) {
                        connection.read.clear();
                        let due = connection.due.take().unwrap_or(now);
                        latencies.push(due.elapsed().as_micros() as u64);
                        failed += u64::from(!well);
                        idle.push_back(index);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    failed += 1;
                    *connection = open()?;
                    idle.push_back(index);
                }
            }
        }
    }
    latencies.sort_unstable();
    let at =
        |share: f64| latencies.get(((latencies.len() as f64 * share) as usize).min(latencies.len().saturating_sub(1)));
    let [p50, p90, p99, p999] = [0.5, 0.9, 0.99, 0.999].map(|share| at(share).copied().unwrap_or(0));
    let line = serde_json::json!({
        "answered": latencies.len(), "failed": failed, "late": late,
        "p50": p50, "p90": p90, "p99": p99, "p999": p999, "max": latencies.last(),
    });
    writeln!(io::stdout(), "{line}")
}
