//! Who is at the other end of a client's connection.

use crate::limits::Place;
use hyper::header::HeaderValue;
use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
};

/// One client, written out once for a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub ip: IpAddr,
    /// As it is told to instances.
    pub text: HeaderValue,
    /// Whether it speaks TLS.
    pub is_secure: bool,
    /// What it takes of the connections that there may be.
    pub place: Option<Rc<Place>>,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr, is_secure: bool) -> Self {
        let ip = address.ip().to_canonical();
        let text = HeaderValue::from_str(&ip.to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Self { ip, text, is_secure, place: None }
    }
}
