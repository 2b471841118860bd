//! What a service manager is told, by the protocol of `sd_notify`.

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{ffi::OsStrExt, net::SocketAddr, net::UnixDatagram},
    },
};

/// Tells the manager that waits for it, if there is one; what cannot be told is logged.
pub fn tell_manager(message: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = tell(&path, message) {
        tracing::warn!(%error, message, "the service manager could not be told");
    }
}

fn tell(path: &OsStr, message: &str) -> io::Result<()> {
    let address = match path.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(path),
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address?).map(drop)
}
