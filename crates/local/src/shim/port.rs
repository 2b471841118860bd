//! A port that an instance can listen on.

use std::{
    collections::hash_map::RandomState,
    fs,
    hash::{BuildHasher, Hasher},
    net::{Ipv4Addr, TcpListener},
};

/// The port it had, if that is still free; else another free one.
///
/// Ports below the range that the kernel hands to outgoing connections are tried first: from inside that range, a
/// client's connection could take the port while the process restarts.
pub(super) fn choose(before: Option<u16>) -> std::io::Result<u16> {
    if let Some(port) = before.filter(|port| is_free(*port)) {
        return Ok(port);
    }
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let low = range.split_whitespace().next().and_then(|low| low.parse().ok()).unwrap_or(32_768_u16);
    const FIRST: u16 = 16_384;
    if low > FIRST + 1_000 {
        let random = RandomState::new();
        for attempt in 0..64_u32 {
            let mut hasher = random.build_hasher();
            hasher.write_u32(attempt);
            let offset = u16::try_from(hasher.finish() % u64::from(low - FIRST)).unwrap_or(0);
            if is_free(FIRST + offset) {
                return Ok(FIRST + offset);
            }
        }
    }
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
