//! A socket that is written to in one piece where that is short: `send` costs less than `writev`, and a head is short.

use rustix::net::SendFlags;
use std::{
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

/// What is copied together, in bytes; more than that is written from where it lies.
const SHORT: usize = 1024;

/// A TCP connection, whose pieces are put together while they are short.
#[derive(Debug)]
pub(crate) struct Gathering(pub TcpStream);

impl AsyncRead for Gathering {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Gathering {
    /// By the system's call itself: a library that has threads asks of each call whether it is to be cancelled.
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let send = || Ok(rustix::net::send(&self.0, bytes, SendFlags::NOSIGNAL)?);
            match self.0.try_io(Interest::WRITABLE, send) {
                Err(full) if full.kind() == ErrorKind::WouldBlock => ready!(self.0.poll_write_ready(context))?,
                Err(interrupted) if interrupted.kind() == ErrorKind::Interrupted => {}
                wrote => return Poll::Ready(wrote),
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = slices {
            return self.poll_write(context, only);
        }
        if slices.iter().map(|slice| slice.len()).sum::<usize>() > SHORT {
            return Pin::new(&mut self.0).poll_write_vectored(context, slices);
        }
        let (mut whole, mut length) = ([0; SHORT], 0);
        for slice in slices {
            whole[length..length + slice.len()].copy_from_slice(slice);
            length += slice.len();
        }
        self.poll_write(context, &whole[..length])
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::poll_fn, io::Read, net::TcpListener, thread};

    #[tokio::test]
    async fn pieces_of_any_length_arrive_whole_and_in_order() {
        let seed = fastrand::u64(..);
        let mut dice = fastrand::Rng::with_seed(seed);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let reading = thread::spawn(move || {
            let mut all = Vec::new();
            listener.accept().expect("a connection").0.read_to_end(&mut all).expect("its end");
            all
        });
        let mut socket = Gathering(TcpStream::connect(address).await.expect("a connection"));
        let mut sent = Vec::new();
        for _ in 0..500 {
            let pieces: Vec<Vec<u8>> = (0..dice.usize(1..5))
                .map(|_| {
                    let length = [0, 1, dice.usize(0..600), SHORT - 1, SHORT, SHORT + 1, 200_000][dice.usize(0..7)];
                    std::iter::repeat_with(|| dice.u8(..)).take(length).collect()
                })
                .collect();
            let slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            let whole = pieces.concat();
            let wrote = poll_fn(|context| Pin::new(&mut socket).poll_write_vectored(context, &slices)).await;
            let wrote = wrote.expect("a write");
            assert!(wrote > 0 || whole.is_empty(), "seed {seed}");
            sent.extend_from_slice(&whole[..wrote]);
        }
        drop(socket);
        assert!(reading.join().expect("the reader") == sent, "seed {seed}");
    }
}
