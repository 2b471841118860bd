//! The sockets that the gateway listens on.

use crate::{disk, worker::Door};
use davy_ports::Error;
use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    path::Path,
    time::Duration,
};

/// What is held of an answer in the kernel beyond what its client takes: so a slow client is seen to be slow.
const UNSENT: u32 = 256 * 1024;

/// A socket that listens, and where.
pub(crate) struct Listening {
    pub address: SocketAddr,
    pub listener: TcpListener,
}

impl Listening {
    /// Listens, and remembers in a file where. A socket that was handed over is taken if it fits.
    pub(crate) fn open(remembered: &Path, asked: SocketAddr, before: Option<&TcpListener>) -> Result<Self, Error> {
        let unasked = |error| Error::never("ask for the address", error);
        let fits = |before: &&TcpListener| {
            let address = before.local_addr();
            address.is_ok_and(|known| known == asked || (asked.port() == 0 && known.ip() == asked.ip()))
        };
        let listener = match before.filter(fits) {
            Some(before) => before.try_clone().map_err(unasked)?,
            None => bind(asked, remembered)?,
        };
        let address = listener.local_addr().map_err(unasked)?;
        disk::replace(remembered, address.to_string().as_bytes())
            .map_err(|error| Error::never(format!("write {}", remembered.display()), error))?;
        Ok(Self { address, listener })
    }

    /// One for a worker.
    pub(crate) fn door(&self, is_secure: bool) -> Result<Door, Error> {
        let listener = self.listener.try_clone().map_err(|error| Error::never("share the listener", error))?;
        Ok(Door { listener, is_secure })
    }
}

/// Listens where asked; with port 0 on the port of the last time, if that is free.
fn bind(asked: SocketAddr, remembered: &Path) -> Result<TcpListener, Error> {
    let last = fs::read_to_string(remembered).ok().and_then(|text| text.parse::<SocketAddr>().ok());
    let before = last.filter(|last| asked.port() == 0 && last.ip() == asked.ip());
    if let Some(listener) = before.and_then(|address| listen(address).ok()) {
        return Ok(listener);
    }
    listen(asked).map_err(|error| {
        Error::never(format!("listen on {asked} for traffic"), error)
            .hint("end what listens there, or give another address")
    })
}

/// Listens at an address.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Socket, TcpKeepalive, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // Connections of the gateway before may still be closing on the same port.
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit these.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT)?;
    // A client that vanished while an answer or a tunnel is silent is found out after two minutes.
    let often = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));
    socket.set_tcp_keepalive(&often.with_retries(4))?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
