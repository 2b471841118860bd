//! OpenID Connect: where a provider says that things are, where the browser goes, and what the code is worth that it comes back with.

use crate::{
    House, Refused, Vouched,
    claims::{self, Expected},
    flow::{Flow, same},
    http::{Asked, Client},
    keys,
    text::{encoded, form, shown},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use davy_config::Kind;
use hyper::Method;
use serde::Deserialize;
use serde_json::Value;
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{sync::Mutex, time::Instant};

/// What a provider says of itself is asked again after this time.
const AGAIN: Duration = Duration::from_secs(600);

/// What a provider says of itself.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Discovered {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// The same, as it was last heard. Those who ask at once wait for one answer.
#[derive(Default)]
pub(crate) struct Known(Mutex<Option<(Instant, Arc<Discovered>)>>);

#[derive(Deserialize)]
struct Tokens {
    id_token: Option<String>,
    access_token: Option<String>,
}

fn wrong(why: impl std::fmt::Display) -> Refused {
    Refused::Provider(why.to_string())
}

async fn discover(client: &Client, house: &House, issuer: &str) -> Result<Arc<Discovered>, Refused> {
    let mut known = house.known.0.lock().await;
    if let Some((at, discovered)) = &*known
        && at.elapsed() < AGAIN
    {
        return Ok(discovered.clone());
    }
    let address = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let value = client.fetch(Asked::get(&address)).await?;
    let found: Discovered =
        serde_json::from_value(value).map_err(|error| wrong(format!("{address} says nothing of use: {error}")))?;
    // Whoever answers for another one could have people signed in as that one's.
    if found.issuer != issuer {
        let said = shown(&found.issuer);
        return Err(wrong(format!("{address} is about the issuer `{said}`: write that as `oidc` if it is meant")));
    }
    let secure = issuer.starts_with("https://");
    let all = [Some(&found.authorization_endpoint), Some(&found.token_endpoint), Some(&found.jwks_uri)];
    for endpoint in all.into_iter().chain([found.userinfo_endpoint.as_ref()]).flatten() {
        if !(endpoint.starts_with("https://") || (!secure && endpoint.starts_with("http://"))) {
            return Err(wrong(format!("{address} names `{}`, which is not by TLS", shown(endpoint))));
        }
    }
    let found = Arc::new(found);
    *known = Some((Instant::now(), found.clone()));
    Ok(found)
}

/// What is needed of an OpenID provider.
struct Asking<'a> {
    issuer: &'a str,
    scopes: &'a [String],
    groups: &'a str,
    called: Option<&'a str>,
}

fn asking(house: &House) -> Result<Asking<'_>, Refused> {
    match &house.provider.kind {
        Kind::Oidc { issuer, scopes, groups, called } => {
            Ok(Asking { issuer, scopes, groups, called: called.as_deref() })
        }
        Kind::Github { .. } => Err(Refused::NoProvider),
    }
}

/// Where the browser goes.
pub(crate) async fn start(client: &Client, house: &House, flow: &Flow, back: &str) -> Result<String, Refused> {
    let Asking { issuer, scopes, .. } = asking(house)?;
    let found = discover(client, house, issuer).await?;
    let mut scope = "openid email profile".to_owned();
    for one in scopes {
        scope.push(' ');
        scope.push_str(one);
    }
    let query = form(&[
        ("response_type", "code"),
        ("client_id", &house.provider.client),
        ("redirect_uri", back),
        ("scope", &scope),
        ("state", &flow.state),
        ("nonce", &flow.nonce),
        ("code_challenge", &flow.challenge()),
        ("code_challenge_method", "S256"),
    ]);
    let joint = if found.authorization_endpoint.contains('?') { '&' } else { '?' };
    Ok(format!("{}{joint}{query}", found.authorization_endpoint))
}

/// Who came back with this code.
pub(crate) async fn end(
    client: &Client,
    house: &House,
    flow: &Flow,
    back: &str,
    code: &str,
    iss: Option<&str>,
) -> Result<Vouched, Refused> {
    let Asking { issuer, groups, called, .. } = asking(house)?;
    if iss.is_some_and(|iss| iss != issuer) {
        return Err(wrong("the answer is by another issuer"));
    }
    let found = discover(client, house, issuer).await?;
    let tokens = exchange(client, house, &found, flow, back, code).await?;
    let token = tokens.id_token.ok_or_else(|| wrong("the provider gives no `id_token`: is `openid` allowed?"))?;
    // Asked each time: keys that were changed are known at once, and one that was taken back is not trusted.
    let keys = client.fetch(Asked::get(&found.jwks_uri)).await?;
    let refused = |why: String| wrong(format!("the provider's `id_token` does not count: {why}"));
    let mut said = keys::opened(&token, &keys).map_err(refused)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let expected = Expected { issuer, client: &house.provider.client, nonce: &flow.nonce, now };
    claims::check(&said, &expected).map_err(refused)?;
    if let (Some(endpoint), Some(token)) = (&found.userinfo_endpoint, &tokens.access_token) {
        let more = client.fetch(Asked::get(endpoint).by(format!("Bearer {token}"))).await?;
        add(&mut said, more)?;
    }
    Ok(vouched(house, &said, groups, called))
}

async fn exchange(
    client: &Client,
    house: &House,
    found: &Discovered,
    flow: &Flow,
    back: &str,
    code: &str,
) -> Result<Tokens, Refused> {
    let id = &*house.provider.client;
    let mut pairs = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", back),
        ("code_verifier", &*flow.verifier),
    ];
    let mut authorization = None;
    let takes = |way: &str| {
        let ways = found.token_endpoint_auth_methods_supported.as_ref();
        ways.map_or(way == "client_secret_basic", |ways| ways.iter().any(|known| known == way))
    };
    match &house.secret {
        Some(secret) if takes("client_secret_basic") || !takes("client_secret_post") => {
            let pair = format!("{}:{}", encoded(id), encoded(secret));
            authorization = Some(format!("Basic {}", STANDARD.encode(pair)));
        }
        Some(secret) => pairs.extend([("client_id", id), ("client_secret", &***secret)]),
        None => pairs.push(("client_id", id)),
    }
    let asked = Asked { method: Method::POST, address: &found.token_endpoint, authorization, form: Some(form(&pairs)) };
    let (status, value) = client.ask(asked).await?;
    if !status.is_success() {
        let said = value.get("error").and_then(Value::as_str).unwrap_or_default();
        return Err(wrong(format!("the provider gives nothing for the code: {status} {}", shown(said))));
    }
    serde_json::from_value(value).map_err(|_| wrong("the provider's answer to the code is none"))
}

/// Adds what the provider says besides, if it is about the same person.
fn add(said: &mut Value, more: Value) -> Result<(), Refused> {
    let sub = |value: &Value| value.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !same(&sub(said), &sub(&more)) {
        return Err(wrong("the provider's `userinfo` is about somebody else"));
    }
    let (Some(said), Value::Object(more)) = (said.as_object_mut(), more) else { return Ok(()) };
    // An address and whether it is verified belong together.
    let email = said.contains_key("email");
    for (name, value) in more {
        if !(said.contains_key(&name) || email && name == "email_verified") {
            said.insert(name, value);
        }
    }
    Ok(())
}

fn vouched(house: &House, said: &Value, groups: &str, called: Option<&str>) -> Vouched {
    let text = |name: &str| said.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let verified = match said.get("email_verified") {
        Some(Value::Bool(is)) => *is,
        // Some write it as a text.
        Some(Value::String(is)) => is == "true",
        _ => false,
    };
    let email = text("email").filter(|_| verified).map(shown);
    // With the provider's name no name is taken for that of a token, or for another provider's.
    let by = |name: &str| format!("{}@{}", shown(name), house.provider.name);
    let name = match called {
        Some(claim) => {
            text(claim).map(|name| if name == email.as_deref().unwrap_or_default() { shown(name) } else { by(name) })
        }
        None => email.clone(),
    };
    let name = name.unwrap_or_else(|| by(text("sub").unwrap_or_default()));
    let groups = match said.get(groups) {
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::String(one)) => vec![one.clone()],
        _ => Vec::new(),
    };
    let unverified = email.is_none() && text("email").is_some();
    Vouched { name, email, unverified, groups, ..Vouched::default() }
}
