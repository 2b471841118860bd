//! Server and gateway as two units of a service manager, or two containers: each is started by itself, says when it is ready,
//! and the server adopts the gateway instead of starting one.

use crate::{
    exit::{Exit, Failure},
    home::Home,
};
use anyhow::Context;
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// How long the server waits for a gateway that is started beside it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The words of `davy gateway`, `--data DIR` replaced by where that folder's gateway has its things; as many threads as processors.
pub(crate) fn words(words: Vec<String>) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let data = match word.strip_prefix("--data=") {
            Some(data) => Some(data.to_owned()),
            None if word == "--data" => words.next(),
            None => {
                all.push(word);
                continue;
            }
        };
        let data = data.ok_or_else(|| Failure::new(Exit::Usage, "D072", "--data needs a value"))?;
        let home = Home::find(Some(Path::new(&data)))?;
        home.create()?;
        let text = |path: std::path::PathBuf| path.display().to_string();
        all.extend(["--control".to_owned(), text(home.control()), "--state".to_owned(), text(home.gateway_state())]);
    }
    if !all.iter().any(|word| word == "--threads") {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        all.extend(["--threads".to_owned(), threads.to_string()]);
    }
    Ok(all)
}

/// Waits until the folder's gateway answers.
pub(crate) async fn gateway(home: &Home) -> Result<(), Failure> {
    home.create()?;
    let (client, since) = (davy_gateway::Client::new(home.control()), Instant::now());
    loop {
        match client.hello().await {
            Ok(_) => return Ok(()),
            Err(error) if since.elapsed() > PATIENCE => {
                let message = format!("no gateway answers in {}: {error}", home.data.display());
                let hint = format!(
                    "start it with `davy gateway --data {} --listen ADDRESS`, or leave out --gateway-apart",
                    home.data.display()
                );
                return Err(Failure::new(Exit::Unreachable, "D074", message).hint(hint));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Tells the service manager that this process is ready, if one waits for that: the protocol of `sd_notify`.
pub(crate) fn ready() {
    use std::os::{
        linux::net::SocketAddrExt,
        unix::{ffi::OsStrExt, net::SocketAddr, net::UnixDatagram},
    };
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match path.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&path),
    };
    let told = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address));
    if let Err(error) = told {
        tracing::warn!(%error, "the service manager could not be told that all is ready");
    }
}

/// Tells the service manager once the gateway answers on its control socket.
pub(crate) fn ready_when_it_answers(words: &[String]) -> Result<(), Failure> {
    let at = words.iter().position(|word| word == "--control");
    let Some(control) = at.and_then(|at| words.get(at + 1)).filter(|_| std::env::var_os("NOTIFY_SOCKET").is_some())
    else {
        return Ok(());
    };
    let client = davy_gateway::Client::new(control.into());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            while client.hello().await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        ready();
    });
    Ok(())
}
