//! One connection of a client, served as any is.

use crate::{
    connection,
    held::Holder,
    limits::{Gate, Limits},
    meters::Meters,
    peer::Peer,
    sticky::Key,
    worker::{Common, Worker},
};
use davy_core::{Mode, Snapshot};
use std::{
    io,
    rc::Rc,
    sync::{Arc, RwLock},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::spawn_local,
};

/// What a client is answered that says these bytes and no more, where this is served. To be run on one thread, in a `LocalSet`.
///
/// # Errors
/// When no connection can be made.
pub async fn served(said: &[u8], snapshot: Snapshot) -> io::Result<Vec<u8>> {
    let table = Arc::new(RwLock::default());
    let mut holder = Holder::open(Vec::new(), "fuzz".to_owned(), Key::new(&[7; 32]), table.clone());
    holder.hold(snapshot, Mode::Split);
    holder.compile();
    let (meters, limits) = (Arc::new(Meters::default()), Limits::default());
    let common = Common { table, meters, gate: Arc::new(Gate::new(limits)), tls: None, log: None, limits };
    let worker = Rc::new(Worker::new(common));
    let deadlines = worker.deadlines.clone();
    let watching = spawn_local(async move { deadlines.watch().await });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (client, accepted) = tokio::join!(TcpStream::connect(listener.local_addr()?), listener.accept());
    let (mut client, (socket, address)) = (client?, accepted?);
    let serving = spawn_local(connection::serve(worker, socket, Peer::new(address, false), None));
    let (mut reading, mut writing) = client.split();
    let mut answered = Vec::new();
    // One that ends the connection early has answered all the same.
    let saying = async {
        writing.write_all(said).await.ok();
        writing.shutdown().await.ok();
    };
    let (_, read) = tokio::join!(saying, reading.read_to_end(&mut answered));
    read.ok();
    serving.await.map_err(io::Error::other)?;
    watching.abort();
    holder.tick();
    Ok(answered)
}
