//! The least proxy on Pingora that does what the gateway is measured at: a random 90/10 split over two backends, forwarded
//! headers, a count for each request. `pingora-split LISTEN STABLE CANARY`, one worker thread.

use async_trait::async_trait;
use pingora::{
    http::RequestHeader,
    prelude::{HttpPeer, ProxyHttp, Result, Server, Session, http_proxy_service},
    server::configuration::ServerConf,
};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

struct Split {
    backends: [String; 2],
    routed: [AtomicU64; 2],
    answered: [AtomicU64; 2],
}

#[async_trait]
impl ProxyHttp for Split {
    type CTX = usize;

    fn new_ctx(&self) -> usize {
        usize::from(fastrand::u16(0..10_000) >= 9_000)
    }

    async fn upstream_peer(&self, _: &mut Session, chosen: &mut usize) -> Result<Box<HttpPeer>> {
        self.routed[*chosen].fetch_add(1, Relaxed);
        Ok(Box::new(HttpPeer::new(self.backends[*chosen].as_str(), false, String::new())))
    }

    async fn upstream_request_filter(&self, session: &mut Session, request: &mut RequestHeader, _: &mut usize) -> Result<()> {
        if let Some(client) = session.client_addr().and_then(|address| address.as_inet()) {
            request.insert_header("x-forwarded-for", client.ip().to_string())?;
        }
        request.insert_header("x-forwarded-proto", "http")?;
        if let Some(host) = request.headers.get("host").cloned() {
            request.insert_header("x-forwarded-host", host)?;
        }
        Ok(())
    }

    async fn logging(&self, _: &mut Session, _: Option<&pingora::Error>, chosen: &mut usize) {
        self.answered[*chosen].fetch_add(1, Relaxed);
    }
}

fn main() {
    let mut words = std::env::args().skip(1);
    let (Some(listen), Some(stable), Some(canary)) = (words.next(), words.next(), words.next()) else {
        panic!("pingora-split LISTEN STABLE CANARY");
    };
    let conf = ServerConf { threads: 1, upstream_keepalive_pool_size: 128, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let split = Split { backends: [stable, canary], routed: Default::default(), answered: Default::default() };
    let mut service = http_proxy_service(&server.configuration, split);
    service.add_tcp(&listen);
    server.add_service(service);
    server.run_forever();
}
