//! `davy token`: who may use the server; and `davy audit log`: what was done to it.

use crate::{
    cli::{Role, Token},
    client::Client,
    exit::{DONE, Exit, Failure},
    output,
};
use davy_engine::{Deed, DeedRecord, Way};
use davy_server::wire;

pub(crate) async fn run(command: Token, client: &Client, json: bool) -> Result<Exit, Failure> {
    match command {
        Token::Create { name, role, env, expires } => {
            let expires = match expires.as_str() {
                "never" => None,
                text => Some(davy_config::duration(text).map_err(|hint| {
                    let message = format!("--expires is `{text}`, which is no duration");
                    Failure::new(Exit::Usage, "D110", message).hint(format!("{hint}; or `never`"))
                })?),
            };
            let expires = expires.map(|length| length.0);
            let body = wire::CreateToken { name: name.clone(), role: role.into(), environments: env, expires };
            let made: wire::TokenCreated = client.post("/api/tokens", &body).await?;
            if !made.notice.is_empty() {
                output::say(&format!("note: {}", made.notice));
            }
            if json {
                output::json(&serde_json::json!({
                    "type": "token-created", "name": name, "token": made.token, "expires": made.expires,
                }));
                return Ok(DONE);
            }
            output::data(&made.token);
            let until = made
                .expires
                .map_or_else(|| "it never expires".to_owned(), |at| format!("it expires {}", output::time(at)));
            output::say(&format!(
                "this is the only time that it is shown; {until}. Keep it in a file of mode 0600: --token-file FILE"
            ));
            Ok(DONE)
        }
        Token::List => list(client, json).await,
        Token::Revoke { name } => {
            let _: serde_json::Value =
                client.post(&format!("/api/tokens/{name}/revoke"), &serde_json::json!({})).await?;
            match json {
                true => output::json(&serde_json::json!({ "type": "token-revoked", "name": name })),
                false => output::data(&format!("{name} is worth nothing any more")),
            }
            Ok(DONE)
        }
    }
}

impl From<Role> for davy_engine::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Viewer => Self::Viewer,
            Role::Deployer => Self::Deployer,
            Role::Approver => Self::Approver,
            Role::Admin => Self::Admin,
        }
    }
}

async fn list(client: &Client, json: bool) -> Result<Exit, Failure> {
    let tokens: Vec<wire::Token> = client.list("/api/tokens").await?;
    if tokens.is_empty() && !json {
        output::say("no tokens but the server's own: `davy token create NAME --role ROLE` makes one");
    }
    for token in &tokens {
        if json {
            output::json(token);
            continue;
        }
        let place = if token.environments.is_empty() { "*".to_owned() } else { token.environments.join(",") };
        let until =
            token.expires.map_or_else(|| "never expires".to_owned(), |at| format!("until {}", output::time(at)));
        output::data(&format!(
            "{}  {}  {place}  {}  {until}  created {} by {}",
            token.name,
            token.role.as_str(),
            token.state,
            output::time(token.created),
            token.by
        ));
    }
    Ok(DONE)
}

/// What was done to the server, the newest last.
pub(crate) async fn log(client: &Client, json: bool) -> Result<Exit, Failure> {
    let records: Vec<DeedRecord> = client.list("/api/deeds").await?;
    for record in &records {
        match json {
            true => output::json(record),
            false => output::data(&format!("{}  {}  {}", output::time(record.at), record.by, words(&record.deed))),
        }
    }
    Ok(DONE)
}

fn place(environments: &[davy_core::EnvironmentName]) -> String {
    let names: Vec<&str> = environments.iter().map(davy_core::EnvironmentName::as_str).collect();
    if names.is_empty() { "everywhere".to_owned() } else { format!("in {}", names.join(", ")) }
}

/// Enough of a digest to find its other deeds.
fn short(digest: &str) -> &str {
    digest.get(..8).unwrap_or(digest)
}

fn words(deed: &Deed) -> String {
    match deed {
        Deed::SecretSet { name, scope, version } => format!("set the secret {name} ({scope}), version {version}"),
        Deed::SecretRemoved { name, scope } => format!("removed the secret {name} ({scope})"),
        Deed::SecretShredded { name, scope, version } => {
            format!("shredded version {version} of the secret {name} ({scope})")
        }
        Deed::TokenCreated { name, role, environments, expires, .. } => {
            let until = expires.map_or_else(String::new, |at| format!(", until {}", output::time(at)));
            format!("created the token `{name}`: {} {}{until}", role.as_str(), place(environments))
        }
        Deed::TokenRevoked { name } => format!("revoked the token `{name}`"),
        Deed::SignedIn { session, role, environments, way, .. } => {
            let by = match way {
                Way::Code => "by a code".to_owned(),
                Way::Token => "by a token".to_owned(),
                Way::Oidc(name) | Way::Github(name) => format!("by {name}"),
            };
            format!("signed in {by}, session {}: {} {}", short(session), role.as_str(), place(environments))
        }
        Deed::SessionKept { session, expires } => {
            format!("goes on with session {}, until {} at least", short(session), output::time(*expires))
        }
        Deed::SignedOut { session } => format!("ended session {}", short(session)),
        Deed::Untold { untold } => {
            let davy_ports::Untold { key, channel, message, why } = untold;
            format!("gave up telling {channel} of {key}, message {message}: {why}")
        }
        Deed::EvidenceLetGo { rollout, batches, .. } => {
            let (count, digest) = (batches.last, &batches.digest);
            format!("let the evidence of rollout {rollout} go: {count} batches with digest {digest}")
        }
        Deed::Restored { made } => format!("restored the backup of {}", output::time(*made)),
    }
}
