//! Two services in one program: `shop web`, a page that shows what a lamp costs, and `shop prices`, which knows it. The page
//! asks for the price through Davy's gateway, so that a canary of `prices` gets its share of these calls, too.

use bytes::Bytes;
use davy_logo::{HTML, Options, Page, Version, listen, serve_pages};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use std::{io, process::ExitCode, time::Duration};
use tokio::net::TcpStream;

const USAGE: &str = "shop web|prices --port N [--host ADDRESS] [--version v1|v2|v3] [--error-rate 5%] [--latency 20ms]";
/// How long the page waits for a price.
const PATIENCE: Duration = Duration::from_secs(2);

#[expect(clippy::print_stderr, reason = "a program's errors go to its standard error")]
fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let service = words.next().unwrap_or_default();
    let image = std::env::var("SHOP_VERSION").ok().map(|version| format!("--version={version}"));
    let options = match Options::parse(image.into_iter().chain(words)) {
        Ok(options) if ["web", "prices"].contains(&service.as_str()) => options,
        Ok(_) => {
            eprintln!("shop: `{service}` is no service\nusage: {USAGE}");
            return ExitCode::from(2);
        }
        Err(error) => {
            eprintln!("shop: {error}\nusage: {USAGE}");
            return ExitCode::from(2);
        }
    };
    let serving = async {
        match service.as_str() {
            "prices" => serve_pages(listen(&options).await?, options.clone(), prices(options.version)).await,
            _ => serve_pages(listen(&options).await?, options, web(gateway()?)).await,
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(serving)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shop: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Where the page finds Davy's gateway: `GATEWAY=http://127.0.0.1:8080`.
fn gateway() -> io::Result<String> {
    let told = std::env::var("GATEWAY").unwrap_or_default();
    let authority = told.strip_prefix("http://").map(|rest| rest.trim_end_matches('/').to_owned());
    authority.ok_or_else(|| io::Error::other("GATEWAY is not set: give it the gateway's address, http://HOST:PORT"))
}

/// `/prices/lamp`: the price as text. The second version has a better one.
fn prices(version: Version) -> impl Fn(String) -> std::future::Ready<Page> {
    move |path| {
        let page = match (path.as_str(), version) {
            ("/prices/lamp", Version::V1) => Page::new(davy_logo::TEXT, "12.00 (prices v1)\n"),
            ("/prices/lamp", _) => Page::new(davy_logo::TEXT, format!("11.50 (prices {version})\n")),
            _ => Page { status: StatusCode::NOT_FOUND, ..Page::new(davy_logo::TEXT, "there is only /prices/lamp\n") },
        };
        std::future::ready(page)
    }
}

type Asked = std::pin::Pin<Box<dyn Future<Output = Page>>>;

/// The page; without a price it fails as a whole, as a shop would.
fn web(gateway: String) -> impl Fn(String) -> Asked {
    move |_| {
        let gateway = gateway.clone();
        Box::pin(async move {
            let asked = tokio::time::timeout(PATIENCE, ask(&gateway, "/prices/lamp")).await;
            match asked.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
                Ok(price) => {
                    Page::new(HTML, format!("<!doctype html>\n<title>Shop</title>\n<p>A lamp costs {price}</p>\n"))
                }
                Err(why) => Page {
                    status: StatusCode::BAD_GATEWAY,
                    ..Page::new(davy_logo::TEXT, format!("the price is not known: {why}\n"))
                },
            }
        })
    }
}

async fn ask(gateway: &str, path: &str) -> Result<String, String> {
    let failed = |error: &dyn std::fmt::Display| format!("GET {path} from {gateway}: {error}");
    let socket = TcpStream::connect(gateway).await.map_err(|error| failed(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(|error| failed(&error))?;
    tokio::task::spawn_local(connection);
    let request = Request::get(path).header(header::HOST, gateway).header(header::CONNECTION, "close");
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| failed(&error))?;
    let answer = sender.send_request(request).await.map_err(|error| failed(&error))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), 1024).collect().await.map_err(|error| failed(&error))?;
    match status {
        StatusCode::OK => Ok(String::from_utf8_lossy(&body.to_bytes()).trim().to_owned()),
        _ => Err(failed(&status)),
    }
}
