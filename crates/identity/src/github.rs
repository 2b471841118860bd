//! GitHub, or one like it in a house of its own: OAuth 2.0, and then what its API says of whoever came.

use crate::{
    House, Refused, Vouched,
    flow::Flow,
    http::{Asked, Client},
    text::{form, shown},
};
use davy_config::Who;
use hyper::Method;
use serde_json::Value;

const PUBLIC: &str = "https://github.com";
/// So many are on one page of a list, and so many pages are read: nobody is in more teams.
const PAGE: usize = 100;
const PAGES: usize = 10;

/// Where its API is.
fn api(address: &str) -> String {
    match address {
        PUBLIC => "https://api.github.com".to_owned(),
        other => format!("{other}/api/v3"),
    }
}

/// Which lists the rules need.
fn needs(house: &House) -> (bool, bool) {
    let any = |fits: fn(&Who) -> bool| house.provider.may.iter().any(|rule| fits(&rule.who));
    (any(|who| matches!(who, Who::Team(_))), any(|who| matches!(who, Who::Organisation(_))))
}

/// Where the browser goes.
pub(crate) fn start(house: &House, address: &str, flow: &Flow, back: &str) -> String {
    // Nothing is asked for that no rule needs.
    let scope = if needs(house) == (false, false) { "" } else { "read:org" };
    let query = form(&[
        ("client_id", &house.provider.client),
        ("redirect_uri", back),
        ("scope", scope),
        ("state", &flow.state),
        ("code_challenge", &flow.challenge()),
        ("code_challenge_method", "S256"),
        ("allow_signup", "false"),
    ]);
    format!("{address}/login/oauth/authorize?{query}")
}

/// Who came back with this code.
pub(crate) async fn end(
    client: &Client,
    house: &House,
    address: &str,
    flow: &Flow,
    back: &str,
    code: &str,
) -> Result<Vouched, Refused> {
    let secret = house.secret.as_ref().map_or("", |secret| secret);
    let body = form(&[
        ("client_id", &house.provider.client),
        ("client_secret", secret),
        ("code", code),
        ("redirect_uri", back),
        ("code_verifier", &flow.verifier),
    ]);
    let token = format!("{address}/login/oauth/access_token");
    let asked = Asked { method: Method::POST, address: &token, authorization: None, form: Some(body) };
    let answer = client.fetch(asked).await?;
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    // It answers 200 also where it gives nothing.
    let given = text(&answer, "access_token");
    if given.is_empty() {
        let said = shown(&text(&answer, "error"));
        return Err(Refused::Provider(format!("GitHub gives nothing for the code: {said}")));
    }
    let api = api(address);
    let user = client.fetch(Asked::get(&format!("{api}/user")).by(format!("Bearer {given}"))).await?;
    let login = text(&user, "login");
    if login.is_empty() {
        return Err(Refused::Provider("GitHub does not say who it is".to_owned()));
    }
    let (by_team, by_organisation) = needs(house);
    let (mut teams, mut organisations) = (Vec::new(), Vec::new());
    if by_team {
        for team in list(client, &format!("{api}/user/teams"), &given).await? {
            let organisation = team.get("organization").map(|organisation| text(organisation, "login"));
            teams.push(format!("{}/{}", organisation.unwrap_or_default(), text(&team, "slug")));
        }
    }
    if by_organisation {
        let all = list(client, &format!("{api}/user/orgs"), &given).await?;
        organisations = all.iter().map(|organisation| text(organisation, "login")).collect();
    }
    let name = format!("{}@{}", shown(&login), house.provider.name);
    Ok(Vouched { name, teams, organisations, login: Some(login), ..Vouched::default() })
}

async fn list(client: &Client, address: &str, token: &str) -> Result<Vec<Value>, Refused> {
    let mut all = Vec::new();
    for page in 1..=PAGES {
        let asked = format!("{address}?per_page={PAGE}&page={page}");
        let value = client.fetch(Asked::get(&asked).by(format!("Bearer {token}"))).await?;
        let Value::Array(found) = value else {
            return Err(Refused::Provider(format!("{address} gives no list")));
        };
        let last = found.len() < PAGE;
        all.extend(found);
        if last {
            break;
        }
    }
    Ok(all)
}
