//! `davy sign-in`: a code for the page; and who is signed in there.

use crate::{
    cli::{SignIn, SignedIn},
    client::Client,
    exit::{DONE, Exit, Failure},
    output,
};
use davy_server::wire;

pub(crate) async fn run(asked: SignIn, client: &Client, json: bool) -> Result<Exit, Failure> {
    match asked.command {
        None => code(asked, client, json).await,
        Some(SignedIn::List) => list(client, json).await,
        Some(SignedIn::End { name }) => {
            let path = format!("/api/sessions/{}/end", encoded(&name));
            let ended: wire::SessionsEnded = client.post(&path, &serde_json::json!({})).await?;
            match (json, ended.sessions) {
                (true, _) => output::json(&ended),
                (false, 1) => output::data(&format!("{name} is signed out")),
                (false, count) => output::data(&format!("{name} is signed out: {count} sessions")),
            }
            Ok(DONE)
        }
    }
}

async fn code(asked: SignIn, client: &Client, json: bool) -> Result<Exit, Failure> {
    let SignIn { name, role, env, .. } = asked;
    let body = wire::MakeCode { name, role: role.map(Into::into), environments: env };
    let made: wire::Code = client.post("/api/session/codes", &body).await?;
    if json {
        output::json(&made);
        return Ok(DONE);
    }
    output::data(&made.code);
    let until = output::time(made.expires);
    output::say(&format!("type it at {}: it works once, until {until}", made.url));
    Ok(DONE)
}

async fn list(client: &Client, json: bool) -> Result<Exit, Failure> {
    let signed: Vec<wire::SignedIn> = client.list("/api/sessions").await?;
    if signed.is_empty() && !json {
        output::say("nobody is signed in: `davy sign-in` prints a code for the page");
    }
    for one in &signed {
        if json {
            output::json(one);
            continue;
        }
        let place = if one.environments.is_empty() { "*".to_owned() } else { one.environments.join(",") };
        let by = one.provider.as_ref().unwrap_or(&one.by);
        let (began, until) = (output::time(one.began), output::time(one.expires));
        output::data(&format!("{}  {}  {place}  by {by}  since {began}, until {until}", one.name, one.role.as_str()));
    }
    Ok(DONE)
}

/// A name as one part of a path.
fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte);
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
