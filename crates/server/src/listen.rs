//! Connections: with TLS or without, so many at once, and no time for those that say nothing.

use crate::wire;
use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

/// Connections at once: live events hold one each.
const CONNECTIONS: usize = 1024;
/// The longest handshake, and the longest wait for the head of a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 22;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Serves connections for ever; when it is dropped, they end.
pub(crate) async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, app: Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = room.clone().acquire_owned().await else { return };
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the API could not take a connection");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        socket.set_nodelay(true).ok();
        let (tls, app) = (tls.clone(), app.clone());
        connections.spawn(async move {
            let served = match tls {
                None => converse(socket, peer, app).await,
                Some(tls) => match timeout(PATIENCE, shake(socket, &tls)).await {
                    Ok(Ok(Some(stream))) => converse(stream, peer, app).await,
                    Ok(Ok(None)) => Ok(()),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_) => Err("no handshake in time".to_owned()),
                },
            };
            if let Err(why) = served {
                tracing::debug!(why, "a connection to the API ended");
            }
            drop(place);
        });
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    app: Router,
) -> Result<(), String> {
    let app = TowerToHyperService::new(app);
    let app = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        app.call(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let served = http.serve_connection(TokioIo::new(stream), app).await;
    served.map_err(|error| error.to_string())
}

/// Shakes hands; none when the client speaks plain HTTP, which it is told.
async fn shake(
    mut socket: TcpStream,
    tls: &TlsAcceptor,
) -> io::Result<Option<tokio_rustls::server::TlsStream<TcpStream>>> {
    let mut first = [0];
    if socket.peek(&mut first).await? == 0 {
        return Ok(None);
    }
    if first[0] == HANDSHAKE {
        return tls.accept(socket).await.map(Some);
    }
    // What came is read, so that closing the socket does not take the answer back.
    let mut said = vec![0; 8 * 1024];
    let _ = socket.read(&mut said).await?;
    let problem = wire::Problem {
        status: 400,
        title: "Bad Request".to_owned(),
        code: "A008".to_owned(),
        detail: "this port speaks TLS, and the request came without it".to_owned(),
        hint: "use https:// instead of http://".to_owned(),
        errors: Vec::new(),
    };
    let body = serde_json::to_string(&problem)?;
    let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\nconnection: close";
    socket.write_all(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    socket.shutdown().await?;
    while socket.read(&mut said).await? > 0 {}
    Ok(None)
}
