//! Server and gateway as two units of a service manager, or two containers: each is started by itself, says when it is ready,
//! and the server adopts the gateway instead of starting one.

use crate::{
    exit::{Exit, Failure},
    home::Home,
};
use anyhow::Context;
use std::{
    os::unix::process::CommandExt,
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

/// Tells the service manager that this process is ready, if one waits for that.
pub(crate) fn ready() {
    davy_gateway::tell_manager("READY=1");
}

/// Tells the service manager once the gateway answers on its control socket.
pub(crate) fn ready_when_it_answers(words: &[String]) -> Result<(), Failure> {
    let at = words.iter().position(|word| word == "--control");
    let Some(control) = at.and_then(|at| words.get(at + 1)).filter(|_| std::env::var_os("NOTIFY_SOCKET").is_some())
    else {
        return Ok(());
    };
    let client = davy_gateway::Client::new(control.into());
    let runtime = runtime()?;
    std::thread::spawn(move || {
        // Another process may answer there until this one has taken over.
        runtime.block_on(answers(&client, std::process::id()));
        ready();
    });
    Ok(())
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?)
}

/// Waits until this process keeps the gateway.
async fn answers(client: &davy_gateway::Client, process: u32) {
    while !client.hello().await.is_ok_and(|hello| hello.is_of(process)) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Starts a gateway from these words that takes over from the one that runs, and leaves it behind once it has. The one that
/// runs goes on if that fails.
pub(crate) fn reload(words: &[String]) -> Result<(), Failure> {
    let failed = |why: String| {
        Failure::new(Exit::Internal, "D076", format!("the gateway could not be replaced: {why}"))
            .hint("the one before serves on; see what the new one said above")
    };
    let control = words.iter().position(|word| word == "--control").and_then(|at| words.get(at + 1));
    let control = control.ok_or_else(|| Failure::new(Exit::Usage, "D072", "--reload needs --data or --control"))?;
    let client = davy_gateway::Client::new(control.into());
    let runtime = runtime()?;
    if let Err(error) = runtime.block_on(client.hello()) {
        return Err(failed(format!("none runs to take over from: {error}")));
    }
    let exe = std::env::current_exe().context("find the davy executable")?;
    let mut command = std::process::Command::new(exe);
    command.arg("gateway").arg("--take-over").args(words).stdin(std::process::Stdio::null()).process_group(0);
    let mut next = command.spawn().map_err(|error| failed(error.to_string()))?;
    let since = Instant::now();
    loop {
        let answering = answers(&client, next.id());
        let answered =
            runtime.block_on(async { tokio::time::timeout(Duration::from_millis(100), answering).await.is_ok() });
        if answered {
            // The one before has told it, unless it is of a version that did not.
            davy_gateway::tell_manager(&format!("MAINPID={}", next.id()));
            return Ok(());
        }
        if let Ok(Some(status)) = next.try_wait() {
            return Err(failed(format!("the new one ended: {status}")));
        }
        if since.elapsed() > PATIENCE {
            next.kill().ok();
            return Err(failed(format!("the new one was not ready within {} s", PATIENCE.as_secs())));
        }
    }
}
