//! Who somebody is, as others vouch for it: OpenID Connect (authorization code, PKCE, nonce, a state that is bound to the browser) and
//! GitHub. What they may do is said by the file of `davy up --sign-in`; nobody else gets in.
//!
//! Nothing is trusted but the provider that the operator named: an answer counts for the browser that asked, once, within ten
//! minutes, and for the provider that it was sent to. Signatures are checked by ring.

mod claims;
mod flow;
mod github;
mod http;
mod keys;
mod oidc;
mod rules;
mod text;

pub use flow::Started;

use davy_config::{Kind, Provider, SignIn};
use davy_core::EnvironmentName;
use flow::{Flow, Flows};
use http::Client;
use zeroize::Zeroizing;

/// Everybody who vouches for people.
pub struct Identity {
    houses: Vec<House>,
    flows: Flows,
    client: Client,
    /// Where browsers find the page.
    url: String,
}

/// One who vouches for people, with what this server proves itself by.
struct House {
    provider: Provider,
    secret: Option<Zeroizing<String>>,
    known: oidc::Known,
}

/// One way to sign in, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Its name, which is part of addresses.
    pub name: String,
    /// As it is shown.
    pub title: String,
    /// `oidc` or `github`.
    pub kind: &'static str,
}

/// Somebody who may come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// By which name the journal knows him.
    pub name: String,
    /// What he may do: `viewer`, `deployer`, `approver` or `admin`.
    pub role: &'static str,
    /// Where; everywhere when empty.
    pub environments: Vec<EnvironmentName>,
    /// `oidc` or `github`.
    pub kind: &'static str,
}

/// What comes back with a browser.
#[derive(Clone, Debug, Default, serde::Deserialize)]
pub struct Returned {
    /// Which attempt it belongs to.
    pub state: Option<String>,
    /// What the provider gives for it.
    pub code: Option<String>,
    /// Why it gives nothing.
    pub error: Option<String>,
    /// Who says so, where the provider says it (RFC 9207).
    pub iss: Option<String>,
}

/// Why nobody was signed in. What is told to the browser is only the word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No provider has this name.
    #[error("no provider has this name")]
    NoProvider,
    /// It was not begun in this browser, or was used, or is older than ten minutes.
    #[error("this sign-in was not begun in this browser, or was used already, or is older than ten minutes")]
    Stale,
    /// The person or the provider does not want to.
    #[error("the provider says `{0}`")]
    Denied(String),
    /// The provider cannot be asked, or what it says does not hold.
    #[error("{0}")]
    Provider(String),
    /// No rule is for this person.
    #[error("no rule of the sign-in file is for `{0}`")]
    NotAllowed(String),
    /// A rule would be, were the e-mail address verified.
    #[error("the provider has not verified the e-mail address of `{0}`")]
    Unverified(String),
    /// The journal could not take it.
    #[error("{0}")]
    Unwritten(String),
}

impl Refused {
    /// What the page is told.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NoProvider => "no-provider",
            Self::Stale => "stale",
            Self::Denied(_) => "denied",
            Self::Provider(_) => "provider",
            Self::NotAllowed(_) => "not-allowed",
            Self::Unverified(_) => "unverified",
            Self::Unwritten(_) => "journal",
        }
    }
}

/// What a provider says of somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vouched {
    /// By which name the journal is to know him.
    pub(crate) name: String,
    /// An address that he has proven to be his.
    pub(crate) email: Option<String>,
    /// Whether there is one that he has not.
    pub(crate) unverified: bool,
    pub(crate) groups: Vec<String>,
    /// `organisation/team`.
    pub(crate) teams: Vec<String>,
    pub(crate) organisations: Vec<String>,
    pub(crate) login: Option<String>,
}

impl Identity {
    /// With the secrets of the providers, in the same order. `url` is where browsers find the page, unless the file says so.
    #[must_use]
    pub fn new(file: SignIn, secrets: Vec<Option<Zeroizing<String>>>, url: &str) -> Self {
        let SignIn { url: own, providers } = file;
        let house = |(provider, secret)| House { provider, secret, known: oidc::Known::default() };
        let houses = providers.into_iter().zip(secrets).map(house).collect();
        let url = own.as_deref().unwrap_or(url).trim_end_matches('/').to_owned();
        Self { houses, flows: Flows::default(), client: Client::default(), url }
    }

    /// Where browsers find the page, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The ways to sign in, in the file's order.
    #[must_use]
    pub fn ways(&self) -> Vec<Way> {
        let way = |house: &House| Way {
            name: house.provider.name.clone(),
            title: house.provider.title.clone().unwrap_or_else(|| house.provider.name.clone()),
            kind: house.kind(),
        };
        self.houses.iter().map(way).collect()
    }

    fn house(&self, name: &str) -> Result<&House, Refused> {
        self.houses.iter().find(|house| house.provider.name == name).ok_or(Refused::NoProvider)
    }

    /// Where a provider sends browsers back to.
    fn back(&self, house: &House) -> String {
        format!("{}/api/session/callback/{}", self.url, house.provider.name)
    }

    /// Begins: where the browser goes, and what it keeps meanwhile.
    ///
    /// # Errors
    /// When there is no such provider, or it cannot be asked.
    pub async fn start(&self, name: &str) -> Result<Started, Refused> {
        let house = self.house(name)?;
        let flow = Flow::begin(name)?;
        let back = self.back(house);
        let location = match &house.provider.kind {
            Kind::Oidc { .. } => oidc::start(&self.client, house, &flow, &back).await?,
            Kind::Github { address } => github::start(house, address, &flow, &back),
        };
        Ok(self.flows.keep(flow, location))
    }

    /// Ends what was begun in the browser that keeps one of `kept`.
    ///
    /// # Errors
    /// When it was not begun there, the provider's answer does not hold, or no rule is for the person.
    pub async fn end(
        &self,
        name: &str,
        returned: &Returned,
        kept: impl Iterator<Item = &str> + Send,
    ) -> Result<Person, Refused> {
        let house = self.house(name)?;
        // Before anything else is believed: it is taken, so that it counts once.
        let flow = self.flows.take(name, returned.state.as_deref().unwrap_or_default(), kept);
        // Some leave the state out of a refusal, which lets nobody in anyway.
        if let Some(error) = &returned.error {
            return Err(Refused::Denied(text::shown(error)));
        }
        let flow = flow.ok_or(Refused::Stale)?;
        let code = returned.code.as_deref().filter(|code| !code.is_empty());
        let code = code.ok_or_else(|| Refused::Denied("neither a code nor an error".to_owned()))?;
        let back = self.back(house);
        let vouched = match &house.provider.kind {
            Kind::Oidc { .. } => oidc::end(&self.client, house, &flow, &back, code, returned.iss.as_deref()).await?,
            Kind::Github { address } => github::end(&self.client, house, address, &flow, &back, code).await?,
        };
        rules::apply(house, vouched)
    }
}

impl House {
    const fn kind(&self) -> &'static str {
        match self.provider.kind {
            Kind::Oidc { .. } => "oidc",
            Kind::Github { .. } => "github",
        }
    }
}
