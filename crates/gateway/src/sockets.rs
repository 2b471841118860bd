//! What a gateway listens on, and how one process passes it to another.

use rustix::{
    fd::{AsFd, OwnedFd},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        recvmsg, sendmsg,
    },
};
use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::TcpListener,
};
use tokio::{io::Interest, net::UnixStream};

/// The most descriptors that are passed: two listeners and the lock.
const MOST: usize = 3;
/// The byte that descriptors come with, and the one that says that there are none.
const SOME: u8 = b's';
const NONE: u8 = b'n';

/// What a gateway listens on, and the lock of its folder.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub plain: TcpListener,
    pub secure: Option<TcpListener>,
    pub lock: File,
}

/// Passes copies of them, or says that there are none. Does not wait: one byte and three descriptors fit into any buffer.
pub(crate) fn send(socket: impl AsFd, sockets: Option<&Sockets>) -> io::Result<()> {
    let mut all = Vec::new();
    if let Some(sockets) = sockets {
        all.extend([sockets.lock.as_fd(), sockets.plain.as_fd()]);
        all.extend(sockets.secure.as_ref().map(AsFd::as_fd));
    }
    let byte = [if sockets.is_some() { SOME } else { NONE }];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !all.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&all));
    }
    sendmsg(socket, &[IoSlice::new(&byte)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// What the other side passes, or none if it says so. An end is an error.
pub(crate) async fn receive(socket: &UnixStream) -> io::Result<Option<Sockets>> {
    let received = socket.async_io(Interest::READABLE, || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, flags)?;
        let rights = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
            _ => None,
        });
        let rights: Vec<OwnedFd> = rights.flatten().collect();
        match (received.bytes, byte) {
            (1, [SOME | NONE]) => Ok((byte == [SOME]).then_some(rights)),
            (0, _) => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Err(io::Error::other("it does not know how to pass sockets")),
        }
    });
    let Some(rights) = received.await? else { return Ok(None) };
    let mut rights = rights.into_iter();
    let (Some(lock), Some(plain)) = (rights.next(), rights.next()) else {
        return Err(io::Error::other("it passed no sockets"));
    };
    let secure = rights.next().map(TcpListener::from);
    Ok(Some(Sockets { plain: plain.into(), secure, lock: lock.into() }))
}
