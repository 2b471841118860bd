//! `davy up` and `davy down`, and the processes that a server starts.

use crate::{
    apart,
    api::Api,
    cli::{Down, Server as Asked, Up},
    client::Client,
    exit::{DONE, Exit, Failure},
    home::{self, Held, Home, LastUp},
    output,
    packing::Packing,
    retention::Retention,
    server::{self, Base, Server},
    servers,
};
use anyhow::Context;
use davy_server::wire;
use std::{io::IsTerminal as _, sync::Arc, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// The server, in the foreground. A signal ends it alone: what serves traffic goes on.
pub(crate) async fn up(asked: Up, json: bool) -> Result<Exit, Failure> {
    server::log();
    let home = match &asked.data.data {
        Some(data) => Home::find(Some(data))?,
        None => Home::find(None)?,
    };
    let api = Api::of(asked.listen, &asked.api, json)?;
    let mut told = told()?;
    if asked.gateway_apart {
        apart::gateway(&home).await?;
    }
    let retention = Retention::parse(&asked.keep_evidence)?;
    let packing = Packing::parse(&asked.pack_after)?;
    let base = Arc::new(Base::take(home, api, &asked.database, retention, packing).await?);
    let mut starts = true;
    loop {
        let journal = match base.open().await {
            Ok(journal) => journal,
            Err(failure) if starts => return Err(failure),
            Err(failure) => {
                tracing::warn!(
                    error = failure.message,
                    "this server waits, and its journal cannot be opened; trying again"
                );
                tokio::time::sleep(REOPEN).await;
                continue;
            }
        };
        let waits = |behind: &str| waiting(&base, behind, json);
        let term = tokio::select! {
            term = servers::turn(&base, &journal, starts, waits) => term,
            _ = told.wait_for(|told| *told) => Ok(None),
        };
        let term = match term {
            Err(failure) if !starts => {
                tracing::warn!(error = failure.message, "this server waits; trying again");
                journal.close().await;
                tokio::time::sleep(REOPEN).await;
                continue;
            }
            term => term?,
        };
        starts = false;
        let Some(mut term) = term else {
            journal.close().await;
            return Ok(DONE);
        };
        if let Some(since) = term.since() {
            davy_engine::go_by(since);
        }
        // One that runs apart has options of its own.
        let features = if asked.gateway_apart { None } else { Some(asked.features.read()?) };
        let server = Server::start(base.clone(), journal.clone(), asked.gateway, features, None).await?;
        home::remember(&LastUp {
            url: base.url.clone(),
            token_file: base.home.token_file(),
            data: base.home.data.clone(),
            tls: base.tls.clone(),
        })?;
        if asked.gateway_apart {
            server.leave_gateway();
        }
        apart::ready();
        works(&base, &server, json);
        tell_page(&base, &server)?;
        let until = async {
            told.wait_for(|told| *told).await.ok();
        };
        let ended = tokio::select! {
            stop = server.serve(until) => Some(stop?),
            () = term.lost() => None,
        };
        match ended {
            Some(stop) => {
                let stopped = server.stop(stop.is_none_or(|stop| stop.keep_traffic)).await;
                term.end(stop.is_some()).await;
                stopped?;
                return Ok(DONE);
            }
            None => {
                tracing::warn!("another server has taken over; this one waits");
                server.stop(true).await.ok();
                journal.close().await;
            }
        }
    }
}

/// Between two attempts to open a journal that was open before.
const REOPEN: Duration = Duration::from_secs(1);

/// Becomes true when a signal says that the server is to end.
fn told() -> Result<watch::Receiver<bool>, Failure> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for signals")?;
    let (sender, told) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        sender.send(true).ok();
    });
    Ok(told)
}

fn waiting(base: &Base, behind: &str, json: bool) {
    apart::ready();
    match json {
        true => output::json(&serde_json::json!({ "type": "waiting", "url": base.url, "behind": behind })),
        false => output::data(&format!(
            "davy waits: the server at {behind} works on {}; this one passes on what it is asked at {}, and takes over when the other is gone",
            base.database, base.url
        )),
    }
}

fn works(base: &Base, server: &Server, json: bool) {
    match json {
        true => output::json(&serde_json::json!({
            "type": "ready",
            "url": base.url,
            "gateway": format!("http://{}", server.gateway),
            "gateway_tls": server.gateway_tls.map(|address| format!("https://{address}")),
            "token_file": base.home.token_file(),
        })),
        false => {
            let tls = server.gateway_tls.map(|address| format!(" and https://{address}")).unwrap_or_default();
            output::data(&format!("davy is up: services at http://{}{tls}, API at {}", server.gateway, base.url));
            output::data(&format!("everything is kept in {}", base.home.data.display()));
            if base.database.is_shared() {
                output::data(&format!("but the journal, which is in {}", base.database));
            }
            output::data("ctrl-c ends the server and leaves traffic alone; `davy down` stops everything");
        }
    }
}

/// Where the page is, for people. A code goes to a terminal only: elsewhere it would stand in a log as long as it is worth something.
fn tell_page(base: &Base, server: &Server) -> Result<(), Failure> {
    if std::io::stderr().is_terminal() {
        let (url, code) = server.page()?;
        output::say(&format!("the page is at {url}; sign in there with {code}, once and within ten minutes"));
        output::say("`davy sign-in` prints another code");
    } else {
        tracing::info!(page = base.page(), "`davy sign-in` prints a code to sign in with");
    }
    Ok(())
}

/// The code of a server that ends and could not stop everything.
const LEFT: &str = "A018";

/// Stops the server and, unless traffic is kept, gateway and instances; also when the server is no more.
pub(crate) async fn down(asked: Down, server: &Asked, json: bool) -> Result<Exit, Failure> {
    let home = Home::find(asked.data.data.as_deref())?;
    let own = asked.data.data.is_none() || home::last_up().is_some_and(|last| last.data == home.data);
    let client = if own || server.server.is_some() { Client::find(server).ok() } else { None };
    let body = wire::Shutdown { keep_traffic: asked.keep_traffic };
    let (told, left) = match client {
        Some(client) => match client.post::<serde_json::Value>("/api/shutdown", &body).await {
            Ok(_) => (true, None),
            Err(failure) if failure.code == LEFT => (true, Some(failure)),
            Err(_) => (false, None),
        },
        None => (false, None),
    };
    if told {
        wait_for_lock(&home).await?;
    } else if home.data.exists() {
        let lock = home.lock(Held::Alone)?;
        if !asked.keep_traffic {
            let stopped = server::places(&home)?.stop_all(server::GRACE).await;
            // It ends also where an engine cannot be reached.
            davy_gateway::Client::new(home.control()).shutdown().await.ok();
            stopped?;
        }
        drop(lock);
    }
    if !asked.keep_traffic {
        gateway_ended(&home).await?;
    }
    if let Some(left) = left {
        return Err(left);
    }
    match json {
        true => {
            output::json(&serde_json::json!({ "type": "stopped", "server": told, "keep_traffic": asked.keep_traffic }));
        }
        false if told => output::data("stopped"),
        false => output::data("no server was running; what it had left is stopped"),
    }
    Ok(DONE)
}

async fn wait_for_lock(home: &Home) -> Result<(), Failure> {
    for _ in 0..300 {
        if home.lock(Held::Alone).is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let message = format!("the server on {} was told to stop and still runs", home.data.display());
    Err(Failure::new(Exit::Internal, "D070", message).hint("look at its output; `davy down` may be repeated"))
}

/// Waits until the gateway, which finishes the requests under way first, has let go of its folder.
async fn gateway_ended(home: &Home) -> Result<(), Failure> {
    let (held, client) = (home.gateway_state().join("lock"), davy_gateway::Client::new(home.control()));
    // Longer than its sockets are held without one.
    for _ in 0..120 {
        let free = std::fs::File::open(&held).map_or(true, |file| file.try_lock().is_ok());
        if free {
            return Ok(());
        }
        // One that was killed a moment ago and is started again has not been told.
        client.shutdown().await.ok();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let message = format!("the gateway of {} was told to stop and still runs", home.data.display());
    Err(Failure::new(Exit::Internal, "D075", message).hint("see its gateway.log; `davy down` may be repeated"))
}

/// The gateway's own processes: the porter, which starts this again as the gateway itself.
pub(crate) fn gateway(words: Vec<String>) -> Result<Exit, Failure> {
    server::log();
    let mut words = apart::words(words)?;
    let all = words.len();
    words.retain(|word| word != "--reload");
    if words.len() < all {
        apart::reload(&words)?;
        return Ok(DONE);
    }
    let told = words.clone();
    let options = davy_gateway::Options::parse(words)
        .map_err(|why| Failure::new(Exit::Usage, "D072", why).hint(davy_gateway::Options::USAGE))?;
    if options.held {
        davy_gateway::run(options)?;
        return Ok(DONE);
    }
    apart::ready_when_it_answers(&told)?;
    // One that did not end well has said why.
    Ok(if davy_gateway::keep(&options)? { DONE } else { Exit::Internal })
}

/// The sample service of the demo.
pub(crate) fn logo(words: Vec<String>) -> Result<Exit, Failure> {
    let options = davy_logo::Options::parse(words)
        .map_err(|error| Failure::new(Exit::Usage, "D071", error.to_string()).hint(davy_logo::Options::USAGE))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(davy_logo::serve(options)).context("serve the sample")?;
    Ok(DONE)
}
