//! `davy notify`: whether people are told.

use crate::{
    cli::{Notify, NotifyTest},
    client::Client,
    commands::deploy,
    exit::{DONE, Exit, Failure},
    output,
};
use davy_server::wire;

pub(crate) async fn run(command: Notify, client: &Client, json: bool) -> Result<Exit, Failure> {
    match command {
        Notify::Test(asked) => test(&asked, client, json).await,
        Notify::List => list(client, json).await,
    }
}

async fn test(asked: &NotifyTest, client: &Client, json: bool) -> Result<Exit, Failure> {
    let (_, text) = deploy::read(&asked.file.file, |file| file.resolve(asked.env.as_deref(), None), json)?;
    let folder = deploy::folder(&asked.file.file)?.to_string_lossy().into_owned();
    let body = wire::Deploy { file: text, folder, environment: asked.env.clone(), service: None, image: None };
    let tested: Vec<wire::Tested> = client.post("/api/notify/test", &body).await?;
    if tested.is_empty() {
        let message = "the file tells nobody: it has no `notify`";
        return Err(Failure::new(Exit::Usage, "D120", message).hint("see docs/notify.md"));
    }
    for one in &tested {
        match json {
            true => output::json(one),
            false => {
                let well = if one.ok { "ok  " } else { "FAIL" };
                let trouble = one.trouble.as_deref().unwrap_or("it was told");
                output::data(&format!("{well} {}: {trouble}", one.channel));
            }
        }
    }
    Ok(if tested.iter().all(|one| one.ok) { DONE } else { Exit::Internal })
}

async fn list(client: &Client, json: bool) -> Result<Exit, Failure> {
    let untold: Vec<wire::Untold> = client.list("/api/notify").await?;
    if untold.is_empty() && !json {
        output::say("everybody was told");
    }
    for one in &untold {
        match json {
            true => output::json(one),
            false => output::data(&words(one)),
        }
    }
    Ok(DONE)
}

/// A lane in a line.
pub(crate) fn words(one: &wire::Untold) -> String {
    let wire::Untold { service, environment, channel, waiting, since, attempts, trouble, .. } = one;
    let trouble = trouble.as_deref().unwrap_or("it is being sent");
    let since = output::time(*since);
    format!("{environment}/{service}  {channel}  {waiting} waiting since {since}, {attempts} attempts: {trouble}")
}
