//! One who vouches for people: a real HTTP server that speaks OpenID Connect, with a real key, and what GitHub documents of itself. It
//! checks what a provider has to check, and can be told to lie.

use base64::{Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

pub(crate) const CLIENT: &str = "davy";
pub(crate) const SECRET: &str = "a secret: with % and +";

/// What it does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lie {
    #[default]
    Nothing,
    /// It signs something else.
    Signature,
    /// It signs by a key that it does not show.
    Key,
    /// It signs by nothing.
    Unsigned,
    /// It says that it signs by a shared secret.
    Shared,
    Nonce,
    Audience,
    Expired,
    Issuer,
    /// What it says of itself is about another.
    Discovery,
    /// What it says besides is about somebody else.
    Userinfo,
    /// The answer says that it is by another.
    Returned,
    /// It answers without JSON.
    Broken,
}

/// Somebody whom it knows.
pub(crate) struct State {
    pub(crate) lie: Lie,
    /// What its tokens say of whoever comes.
    pub(crate) claims: Value,
    /// What it says besides.
    pub(crate) userinfo: Value,
    pub(crate) login: String,
    pub(crate) teams: Vec<String>,
    pub(crate) organisations: Vec<String>,
    codes: HashMap<String, HashMap<String, String>>,
    count: u32,
}

pub(crate) struct Provider {
    pub(crate) url: String,
    pub(crate) state: Arc<Mutex<State>>,
}

fn key() -> EcdsaKeyPair {
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).expect("a key");
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &SystemRandom::new()).expect("a key")
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The pairs of a query or a form.
pub(crate) fn pairs(text: &str) -> HashMap<String, String> {
    let value = |text: &str| {
        let (mut out, mut bytes) = (Vec::new(), text.bytes());
        while let Some(byte) = bytes.next() {
            out.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                    u8::from_str_radix(&String::from_utf8_lossy(&digits), 16).expect("hexadecimal")
                }
                other => other,
            });
        }
        String::from_utf8(out).expect("text")
    };
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, text)| (value(name), value(text))).collect()
}

impl Provider {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let state = Arc::new(Mutex::new(State {
            lie: Lie::Nothing,
            claims: json!({ "sub": "u-1", "email": "lena@example.com", "email_verified": true, "groups": ["shop"] }),
            userinfo: json!({ "sub": "u-1" }),
            login: "Lena".to_owned(),
            teams: vec!["Example/platform".to_owned()],
            organisations: vec!["example".to_owned()],
            codes: HashMap::new(),
            count: 0,
        }));
        let house = Arc::new(House { url: url.clone(), key: key(), state: state.clone() });
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let house = house.clone();
                std::thread::spawn(move || house.serve(socket));
            }
        });
        Self { url, state }
    }

    pub(crate) fn lies(&self, lie: Lie) {
        self.state.lock().expect("a state").lie = lie;
    }
}

struct House {
    url: String,
    key: EcdsaKeyPair,
    state: Arc<Mutex<State>>,
}

impl House {
    fn serve(&self, mut socket: TcpStream) -> Option<()> {
        let mut reading = BufReader::new(socket.try_clone().ok()?);
        let mut line = String::new();
        reading.read_line(&mut line).ok()?;
        let mut words = line.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            reading.read_line(&mut line).ok()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reading.read_exact(&mut body).ok()?;
        let form = pairs(&String::from_utf8_lossy(&body));
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let (status, location, value) = self.answer(&method, path, &pairs(query), &headers, &form);
        let broken = self.state.lock().ok()?.lie == Lie::Broken;
        let text = if broken { "<html>".to_owned() } else { value.to_string() };
        let location = location.map(|to| format!("location: {to}\r\n")).unwrap_or_default();
        let head = format!("HTTP/1.1 {status} -\r\ncontent-type: application/json\r\nconnection: close\r\n{location}");
        socket.write_all(format!("{head}content-length: {}\r\n\r\n{text}", text.len()).as_bytes()).ok()
    }

    fn answer(
        &self,
        method: &str,
        path: &str,
        query: &HashMap<String, String>,
        headers: &HashMap<String, String>,
        form: &HashMap<String, String>,
    ) -> (u16, Option<String>, Value) {
        let mut state = self.state.lock().expect("a state");
        let url = &self.url;
        let bearer = headers.get("authorization").is_some_and(|by| by == "Bearer given");
        let page = query.get("page").is_none_or(|page| page == "1");
        match (method, path) {
            ("GET", "/.well-known/openid-configuration") => {
                let issuer = if state.lie == Lie::Discovery { "https://other.example.com" } else { url };
                let (to, token) = (format!("{url}/authorize"), format!("{url}/token"));
                let (keys, userinfo) = (format!("{url}/keys"), format!("{url}/userinfo"));
                let value = json!({
                    "issuer": issuer, "authorization_endpoint": to, "token_endpoint": token, "jwks_uri": keys,
                    "userinfo_endpoint": userinfo, "response_types_supported": ["code"],
                });
                (200, None, value)
            }
            ("GET", "/keys") => {
                let point = self.key.public_key().as_ref();
                let (x, y) = (encoded(&point[1..33]), encoded(&point[33..65]));
                let other = json!({ "kty": "RSA", "kid": "other", "n": "AQAB", "e": "AQAB" });
                let key =
                    json!({ "kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "alg": "ES256", "x": x, "y": y });
                (200, None, json!({ "keys": [other, { "kty": "oct" }, key] }))
            }
            ("GET", "/authorize" | "/login/oauth/authorize") => {
                let get = |name: &str| query.get(name).cloned().unwrap_or_default();
                assert_eq!(get("client_id"), CLIENT);
                assert_eq!(get("code_challenge_method"), "S256");
                if path == "/authorize" {
                    assert_eq!(get("response_type"), "code");
                    assert!(get("scope").starts_with("openid email profile"), "{}", get("scope"));
                    assert!(get("nonce").len() > 40);
                }
                state.count += 1;
                let code = format!("c{}", state.count);
                state.codes.insert(code.clone(), query.clone());
                let iss = match (path, state.lie) {
                    ("/authorize", Lie::Returned) => "&iss=https%3A%2F%2Fother.example.com".to_owned(),
                    ("/authorize", _) => format!("&iss={}", url.replace(':', "%3A").replace('/', "%2F")),
                    _ => String::new(),
                };
                (302, Some(format!("{}?code={code}&state={}{iss}", get("redirect_uri"), get("state"))), json!({}))
            }
            ("POST", "/token" | "/login/oauth/access_token") => {
                let get = |name: &str| form.get(name).cloned().unwrap_or_default();
                let by =
                    format!("Basic {}", STANDARD.encode(format!("{CLIENT}:a%20secret%3A%20with%20%25%20and%20%2B")));
                let proven = match path {
                    "/token" => get("grant_type") == "authorization_code" && headers.get("authorization") == Some(&by),
                    _ => get("client_id") == CLIENT && get("client_secret") == SECRET,
                };
                let began = state.codes.remove(&get("code"));
                let fits = began.as_ref().is_some_and(|began| {
                    began["redirect_uri"] == get("redirect_uri")
                        && began["code_challenge"] == encoded(digest(&SHA256, get("code_verifier").as_bytes()))
                });
                match (proven && fits, path, began) {
                    (true, "/token", Some(began)) => {
                        let token = self.token(&state, &began["nonce"]);
                        (200, None, json!({ "access_token": "given", "token_type": "Bearer", "id_token": token }))
                    }
                    (true, ..) => {
                        (200, None, json!({ "access_token": "given", "scope": "read:org", "token_type": "bearer" }))
                    }
                    (_, "/token", _) => (400, None, json!({ "error": "invalid_grant" })),
                    _ => (200, None, json!({ "error": "bad_verification_code" })),
                }
            }
            ("GET", "/userinfo") if bearer => {
                let value = if state.lie == Lie::Userinfo { json!({ "sub": "u-2" }) } else { state.userinfo.clone() };
                (200, None, value)
            }
            ("GET", "/api/v3/user") if bearer => (200, None, json!({ "login": state.login, "id": 7 })),
            ("GET", "/api/v3/user/teams") if bearer => {
                let team = |name: &String| {
                    let (organisation, slug) = name.split_once('/').expect("both");
                    json!({ "slug": slug, "organization": { "login": organisation } })
                };
                // More than one page of them.
                let all: Vec<Value> = match page {
                    true => vec![json!({ "slug": "x", "organization": { "login": "many" } }); 100],
                    false => state.teams.iter().map(team).collect(),
                };
                (200, None, json!(all))
            }
            ("GET", "/api/v3/user/orgs") if bearer => {
                let all: Vec<Value> = state.organisations.iter().map(|login| json!({ "login": login })).collect();
                (200, None, json!(all))
            }
            _ => (404, None, json!({ "message": "Not Found" })),
        }
    }

    fn token(&self, state: &State, nonce: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs();
        let mut claims = state.claims.clone();
        for (name, value) in [
            ("iss", json!(self.url)),
            ("aud", json!(CLIENT)),
            ("nonce", json!(nonce)),
            ("iat", json!(now)),
            ("exp", json!(now + 300)),
        ] {
            claims[name] = value;
        }
        match state.lie {
            Lie::Nonce => claims["nonce"] = json!("another"),
            Lie::Audience => claims["aud"] = json!("another"),
            Lie::Expired => claims["exp"] = json!(now - 120),
            Lie::Issuer => claims["iss"] = json!("https://other.example.com"),
            _ => {}
        }
        let alg = match state.lie {
            Lie::Unsigned => "none",
            Lie::Shared => "HS256",
            _ => "ES256",
        };
        let head = encoded(json!({ "alg": alg, "kid": "k1", "typ": "JWT" }).to_string());
        let message = format!("{head}.{}", encoded(claims.to_string()));
        let sign =
            |key: &EcdsaKeyPair, text: &str| encoded(key.sign(&SystemRandom::new(), text.as_bytes()).expect("signed"));
        let signature = match state.lie {
            Lie::Unsigned => String::new(),
            Lie::Signature => sign(&self.key, "something else"),
            Lie::Key => sign(&key(), &message),
            _ => sign(&self.key, &message),
        };
        format!("{message}.{signature}")
    }
}
