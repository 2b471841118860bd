//! Signing in by others, against servers that speak their protocols and can be told to lie.

mod provider;

use davy_config::{SignIn, sign_in};
use davy_identity::{Identity, Person, Refused, Returned, Started};
use provider::{CLIENT, Lie, Provider, SECRET, pairs};
use serde_json::json;
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};
use zeroize::Zeroizing;

const URL: &str = "http://127.0.0.1:7420";

fn file(provider: &Provider) -> SignIn {
    let url = &provider.url;
    let text = format!(
        "providers:\n\
         - name: company\n  title: The Company\n  oidc: {url}\n  client: {CLIENT}\n  secret-file: s\n  scopes: [groups]\n  may:\n\
         \x20   - {{ role: admin, group: platform }}\n    - {{ role: deployer, group: shop, environments: [staging] }}\n\
         \x20   - {{ role: approver, email: mira@example.com }}\n    - {{ role: viewer, domain: example.com }}\n\
         - name: github\n  github: {url}\n  client: {CLIENT}\n  secret-file: s\n  may:\n\
         \x20   - {{ role: admin, login: root }}\n    - {{ role: approver, team: example/platform }}\n    - {{ role: viewer, organisation: example }}\n\
         - name: public\n  oidc: {url}\n  client: {CLIENT}\n  may: [{{ role: viewer, group: shop }}]\n"
    );
    sign_in(text.as_bytes()).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

fn identity(provider: &Provider) -> Identity {
    let secret = || Some(Zeroizing::new(SECRET.to_owned()));
    Identity::new(file(provider), vec![secret(), secret(), None], URL)
}

/// What a browser comes back with that follows where it is sent.
fn follow(location: &str) -> Returned {
    let rest = location.strip_prefix("http://").expect("an address");
    let (authority, path) = rest.split_at(rest.find('/').expect("a path"));
    let mut socket = TcpStream::connect(authority).expect("it listens");
    socket.write_all(format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\n\r\n").as_bytes()).expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    let back = answer.lines().find_map(|line| line.strip_prefix("location: ")).unwrap_or_else(|| panic!("{answer}"));
    let (address, query) = back.split_once('?').expect("a query");
    assert!(address.starts_with(&format!("{URL}/api/session/callback/")), "{address}");
    let mut pairs = pairs(query);
    Returned { state: pairs.remove("state"), code: pairs.remove("code"), error: None, iss: pairs.remove("iss") }
}

async fn through(identity: &Identity, name: &str) -> Result<Person, Refused> {
    let Started { location, kept, .. } = identity.start(name).await?;
    let returned = follow(&location);
    identity.end(name, &returned, [&**kept].into_iter()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_vouched_for_comes_in_as_the_first_rule_says() {
    let provider = Provider::start();
    let identity = identity(&provider);
    let ways = identity.ways();
    let shown: Vec<_> = ways.iter().map(|way| (&*way.name, &*way.title, way.kind)).collect();
    assert_eq!(
        shown,
        [("company", "The Company", "oidc"), ("github", "github", "github"), ("public", "public", "oidc")]
    );
    let lena = through(&identity, "company").await.unwrap();
    assert_eq!((&*lena.name, lena.role, lena.kind), ("lena@example.com", "deployer", "oidc"));
    assert_eq!(lena.environments.iter().map(ToString::to_string).collect::<Vec<_>>(), ["staging"]);
    // Groups from beside the token, and a name of another claim.
    {
        let mut state = provider.state.lock().unwrap();
        state.claims = json!({ "sub": "u-1", "email": "lena@example.com" });
        state.userinfo =
            json!({ "sub": "u-1", "groups": ["platform"], "email_verified": true, "email": "root@example.com" });
    }
    let lena = through(&identity, "company").await.unwrap();
    assert_eq!(
        (&*lena.name, lena.role),
        ("u-1@company", "admin"),
        "an address and whether it is verified belong together"
    );
    // In no group: by her address, whose domain is not told by its letters' case.
    provider.state.lock().unwrap().claims =
        json!({ "sub": "u-1", "email": "Mira@Example.com", "email_verified": true });
    provider.state.lock().unwrap().userinfo = json!({ "sub": "u-1" });
    assert_eq!(through(&identity, "company").await.unwrap().role, "approver");

    let github = through(&identity, "github").await.unwrap();
    assert_eq!((&*github.name, github.role, github.kind), ("Lena@github", "approver", "github"));
    provider.state.lock().unwrap().teams.clear();
    assert_eq!(through(&identity, "github").await.unwrap().role, "viewer");
    provider.state.lock().unwrap().organisations = vec!["elsewhere".to_owned()];
    assert_eq!(through(&identity, "github").await, Err(Refused::NotAllowed("Lena@github".to_owned())));
    provider.state.lock().unwrap().login = "ROOT".to_owned();
    assert_eq!(through(&identity, "github").await.unwrap().role, "admin");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_hold_lets_nobody_in() {
    let provider = Provider::start();
    for (lie, says) in [
        (Lie::Signature, "its signature is wrong"),
        (Lie::Key, "its signature is wrong"),
        (Lie::Unsigned, "it is signed by `none`, which is not taken"),
        (Lie::Shared, "it is signed by `HS256`, which is not taken"),
        (Lie::Nonce, "it belongs to another attempt"),
        (Lie::Audience, "it is for another client"),
        (Lie::Expired, "it has expired"),
        (Lie::Issuer, "it is by `https://other.example.com`"),
        (Lie::Discovery, "is about the issuer `https://other.example.com`"),
        (Lie::Userinfo, "is about somebody else"),
        (Lie::Returned, "is by another issuer"),
        (Lie::Broken, "and no JSON"),
    ] {
        // What it says of itself is remembered for a while.
        let identity = identity(&provider);
        provider.lies(lie);
        let refused = match identity.start("company").await {
            Ok(Started { location, kept, .. }) => {
                let returned = follow(&location);
                identity.end("company", &returned, [&**kept].into_iter()).await.unwrap_err()
            }
            Err(refused) => refused,
        };
        assert!(matches!(&refused, Refused::Provider(why) if why.contains(says)), "{lie:?}: {refused}");
        assert_eq!(refused.word(), "provider");
        provider.lies(Lie::Nothing);
        assert!(through(&identity, "company").await.is_ok(), "{lie:?}");
    }
    let identity = identity(&provider);
    // A wrong secret, and none where one is needed.
    let wrong = Identity::new(file(&provider), vec![Some(Zeroizing::new("other".to_owned())); 3], URL);
    for name in ["company", "github"] {
        assert!(
            matches!(through(&wrong, name).await, Err(Refused::Provider(why)) if why.contains("gives nothing for the code"))
        );
    }
    assert!(matches!(through(&identity, "public").await, Err(Refused::Provider(_))));
    assert_eq!(through(&identity, "nobody").await, Err(Refused::NoProvider));
    for claims in
        [json!({ "email": "lena@example.com", "email_verified": true }), json!({ "sub": "", "groups": ["shop"] })]
    {
        provider.state.lock().unwrap().claims = claims;
        assert!(
            matches!(through(&identity, "company").await, Err(Refused::Provider(why)) if why.contains("does not say who it is"))
        );
    }
    for (verified, expected) in [
        (json!(false), Refused::Unverified("u-1@company".to_owned())),
        (json!(null), Refused::Unverified("u-1@company".to_owned())),
        (json!("yes"), Refused::Unverified("u-1@company".to_owned())),
    ] {
        provider.state.lock().unwrap().claims =
            json!({ "sub": "u-1", "email": "lena@example.com", "email_verified": verified });
        assert_eq!(through(&identity, "company").await, Err(expected));
    }
    provider.state.lock().unwrap().claims =
        json!({ "sub": "u-1", "email": "lena@example.com.evil.com", "email_verified": true, "groups": "shopping" });
    assert_eq!(through(&identity, "company").await, Err(Refused::NotAllowed("lena@example.com.evil.com".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_counts_once_and_for_who_asked() {
    let provider = Provider::start();
    let identity = identity(&provider);
    let Started { location, kept, .. } = identity.start("company").await.unwrap();
    let returned = follow(&location);
    // Another browser; then the own one comes too late: somebody knew its answer.
    assert_eq!(identity.end("company", &returned, ["other"].into_iter()).await, Err(Refused::Stale));
    assert_eq!(identity.end("company", &returned, [&**kept].into_iter()).await, Err(Refused::Stale));
    let Started { location, kept, .. } = identity.start("company").await.unwrap();
    let mut returned = follow(&location);
    let state = returned.state.replace("forged".to_owned());
    assert_eq!(identity.end("company", &returned, [&**kept].into_iter()).await, Err(Refused::Stale));
    returned.state = None;
    assert_eq!(identity.end("company", &returned, [&**kept].into_iter()).await, Err(Refused::Stale));
    returned.state = state;
    assert!(identity.end("company", &returned, [&**kept].into_iter()).await.is_ok());
    assert_eq!(identity.end("company", &returned, [&**kept].into_iter()).await, Err(Refused::Stale), "again");
    // An answer of one provider is none of another's.
    let Started { location, kept, .. } = identity.start("company").await.unwrap();
    let returned = follow(&location);
    assert_eq!(identity.end("public", &returned, [&**kept].into_iter()).await, Err(Refused::Stale));
    // A code that was used, or of another attempt: the verifier does not fit.
    let one = identity.start("company").await.unwrap();
    let other = identity.start("company").await.unwrap();
    let (first, mut second) = (follow(&one.location), follow(&other.location));
    second.code = first.code.clone();
    let refused = identity.end("company", &second, [&**other.kept].into_iter()).await;
    assert!(matches!(refused, Err(Refused::Provider(why)) if why.contains("invalid_grant")));
    // Somebody who does not want to.
    let Started { location, kept, .. } = identity.start("github").await.unwrap();
    let returned = Returned { code: None, error: Some("access_denied".to_owned()), ..follow(&location) };
    let refused = identity.end("github", &returned, [&**kept].into_iter()).await.unwrap_err();
    assert_eq!((refused.word(), refused), ("denied", Refused::Denied("access_denied".to_owned())));
    let Started { location, kept, .. } = identity.start("github").await.unwrap();
    let returned = Returned { code: Some(String::new()), ..follow(&location) };
    assert_eq!(identity.end("github", &returned, [&**kept].into_iter()).await.unwrap_err().word(), "denied");
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_said_to_be() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let text =
        format!("providers: [{{ name: a, oidc: \"{url}\", client: davy, may: [{{ role: viewer, group: a }}] }}]");
    let identity = Identity::new(sign_in(text.as_bytes()).unwrap(), vec![None], URL);
    let refused = identity.start("a").await.err().expect("nobody is there");
    assert!(
        matches!(&refused, Refused::Provider(why) if why.contains("could not ask") && why.contains(&url)),
        "{refused}"
    );
}
