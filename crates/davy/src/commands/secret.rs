//! `davy secret`: what instances are given. A value comes from a hidden prompt, standard input or a file, never from an
//! argument, which every user of the machine could read.

use crate::{
    cli::{Secret, SecretScope},
    client::Client,
    exit::{DONE, Exit, Failure},
    output,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use davy_server::wire;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    path::Path,
};
use zeroize::Zeroizing;

/// More is refused by the server; read a little further to say so.
const MOST: u64 = 128 * 1024;

pub(crate) async fn run(command: Secret, client: &Client, json: bool) -> Result<Exit, Failure> {
    match command {
        Secret::Set { value, .. } if !value.is_empty() => {
            let message = "the value of a secret is never an argument: others on the machine could read it there";
            Err(Failure::new(Exit::Usage, "D100", message).hint("leave it out: it is asked for, or read from standard input or --from-file; change it if others may have seen it"))
        }
        Secret::Set { name, scope, from_file, .. } => {
            let value = value(&name, from_file.as_deref())?;
            set(name, scope, &value, client, json).await
        }
        Secret::List => list(client, json).await,
        Secret::Rm { name, scope } => {
            let body = wire::RemoveSecret { name: name.clone(), service: scope.service, environment: scope.env };
            let _: serde_json::Value = client.post("/api/secrets/remove", &body).await?;
            match json {
                true => output::json(&serde_json::json!({ "type": "secret-removed", "name": name })),
                false => output::data(&format!(
                    "{name} is given to no new release; what runs keeps its value until it is replaced"
                )),
            }
            Ok(DONE)
        }
    }
}

async fn set(name: String, scope: SecretScope, value: &[u8], client: &Client, json: bool) -> Result<Exit, Failure> {
    let SecretScope { service, env } = scope;
    let body = wire::SetSecret { name: name.clone(), service, environment: env, value: STANDARD.encode(value) };
    let done: wire::SecretSet = client.post("/api/secrets", &body).await?;
    if !done.notice.is_empty() {
        output::say(&format!("note: {}", done.notice));
    }
    match json {
        true => output::json(&serde_json::json!({
            "type": "secret-set", "name": name, "version": done.version, "changed": done.changed,
        })),
        false if done.changed => output::data(&format!(
            "{name} is set, version {}: the next `davy deploy` of what uses it is a new release",
            done.version
        )),
        false => output::data(&format!("{name} has this value already, version {}: nothing was changed", done.version)),
    }
    Ok(DONE)
}

async fn list(client: &Client, json: bool) -> Result<Exit, Failure> {
    let secrets: Vec<wire::Secret> = client.list("/api/secrets").await?;
    if secrets.is_empty() && !json {
        output::say("no secrets are set: `davy secret set NAME` sets one");
    }
    for secret in &secrets {
        if json {
            output::json(secret);
            continue;
        }
        let environment = secret.environment.as_deref().unwrap_or("*");
        let service = secret.service.as_deref().unwrap_or("*");
        let removed = if secret.set { "" } else { "  removed; kept for the releases that have it" };
        output::data(&format!(
            "{environment}/{service}  {}  version {}  {}  {}{removed}",
            secret.name,
            secret.version,
            output::time(secret.at),
            secret.by
        ));
    }
    Ok(DONE)
}

fn value(name: &str, file: Option<&Path>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failed = |from: &str, error: &io::Error| {
        Failure::new(Exit::Usage, "D101", format!("cannot read the value of {name} from {from}: {error}"))
    };
    if let Some(path) = file {
        let read = File::open(path).and_then(all);
        return read.map_err(|error| failed(&path.display().to_string(), &error));
    }
    let mut value = match io::stdin().is_terminal() {
        true => return ask(name).map_err(|error| failed("the terminal", &error)),
        false => all(io::stdin().lock()).map_err(|error| failed("standard input", &error))?,
    };
    if value.last() == Some(&b'\n') {
        value.pop();
        if value.last() == Some(&b'\r') {
            value.pop();
        }
    }
    Ok(value)
}

fn all(from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut value = Zeroizing::new(Vec::new());
    from.take(MOST).read_to_end(&mut value)?;
    Ok(value)
}

/// One line that is not shown while it is typed.
fn ask(name: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let terminal = io::stdin();
    let before = tcgetattr(&terminal)?;
    let mut hidden = before.clone();
    // Signals, too, are taken as they are typed: the terminal is put back before this ends.
    hidden.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
    output::say(&format!("value of {name} (not shown; end with Enter):"));
    tcsetattr(&terminal, OptionalActions::Flush, &hidden)?;
    let typed = typed();
    tcsetattr(&terminal, OptionalActions::Now, &before)?;
    typed
}

fn typed() -> io::Result<Zeroizing<Vec<u8>>> {
    let mut value = Zeroizing::new(Vec::new());
    for byte in io::stdin().lock().bytes() {
        match byte? {
            b'\r' | b'\n' | 4 => return Ok(value),
            3 | 26 | 28 => return Err(io::Error::new(io::ErrorKind::Interrupted, "broken off; nothing was changed")),
            // A character may have several bytes, of which the later ones begin with the bits 10.
            8 | 127 => while value.pop().is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000) {},
            21 => value.clear(),
            byte => value.push(byte),
        }
    }
    Ok(value)
}
