//! The file of `davy up --sign-in`: who vouches for people, and what those may do. Read as `davy.yaml` is: within budgets, every
//! error at once, each with its place.

use crate::{
    Diagnostic, codes,
    diagnostic::quote,
    file::MOST as ERRORS,
    keys::Keys,
    reader::Reader,
    source::{host, is_here},
    tree::{self, Node, Value},
};
use davy_core::EnvironmentName;
use std::path::PathBuf;

/// More are a mistake: each is a button.
const MOST: usize = 16;
/// More rules than a person reads.
const RULES: usize = 500;
/// The roles, from the least.
const ROLES: [&str; 4] = ["viewer", "deployer", "approver", "admin"];

static FILE: Keys = Keys { path: "", known: &["url", "providers"], later: &[] };
static PROVIDER: Keys = Keys {
    path: "providers",
    known: &["name", "title", "oidc", "github", "client", "secret-file", "scopes", "groups", "called", "may"],
    later: &[],
};
static OIDC_RULE: Keys =
    Keys { path: "providers.may", known: &["role", "environments", "group", "email", "domain"], later: &[] };
static GITHUB_RULE: Keys =
    Keys { path: "providers.may", known: &["role", "environments", "team", "organisation", "login"], later: &[] };

/// A file without errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// Where browsers find the page, without a slash at its end; as `davy up` says when absent.
    pub url: Option<String>,
    /// Who vouches for people.
    pub providers: Vec<Provider>,
}

/// Somebody who vouches for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Its name, which is part of addresses.
    pub name: String,
    /// As it is shown; its name when absent.
    pub title: Option<String>,
    /// What it is.
    pub kind: Kind,
    /// By which name it knows this server.
    pub client: String,
    /// The file with what this server proves that by; a public client has none.
    pub secret_file: Option<PathBuf>,
    /// Who may do what: the first that fits counts.
    pub may: Vec<Rule>,
}

/// How somebody vouches for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// By OpenID Connect.
    Oidc {
        /// Its issuer, as it writes it itself.
        issuer: String,
        /// What is asked for besides `openid`, `email` and `profile`.
        scopes: Vec<String>,
        /// The claim with somebody's groups.
        groups: String,
        /// The claim by which the journal knows somebody; a verified e-mail, else the subject, when absent.
        called: Option<String>,
    },
    /// GitHub, or one like it in a house of its own.
    Github {
        /// Its address, without a slash at its end.
        address: String,
    },
}

/// What some may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Who.
    pub who: Who,
    /// What: `viewer`, `deployer`, `approver` or `admin`.
    pub role: &'static str,
    /// Where; everywhere when empty.
    pub environments: Vec<EnvironmentName>,
}

/// Whom a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Who is in this group.
    Group(String),
    /// Who has this verified e-mail address.
    Email(String),
    /// Whose verified e-mail address is of this domain.
    Domain(String),
    /// Who is in this team of an organisation, `organisation/team`.
    Team(String),
    /// Who is in this organisation.
    Organisation(String),
    /// Whom GitHub knows by this name.
    Login(String),
}

/// Reads a file.
///
/// # Errors
/// Every error that it has, in the order of their places.
pub fn sign_in(bytes: &[u8]) -> Result<SignIn, Vec<Diagnostic>> {
    let text = tree::text(bytes).map_err(|error| vec![error])?;
    let (root, errors) = tree::read(text);
    let mut reader = Reader { errors, notes: Vec::new() };
    let read = root.and_then(|root| reader.sign_in(&root));
    for error in reader.errors.iter_mut().filter(|error| error.code == codes::EMPTY) {
        "`davy config explain E062` shows a whole one".clone_into(&mut error.hint);
    }
    reader.errors.sort_by_key(|error| (error.line, error.column));
    reader.errors.truncate(ERRORS);
    read.filter(|_| reader.errors.is_empty()).ok_or(reader.errors)
}

impl Reader {
    fn sign_in(&mut self, root: &Node) -> Option<SignIn> {
        let map = self.map(root, &FILE)?;
        let url = match map.get("url") {
            None => None,
            Some(node) => Some(self.address(node, "`url`")?.trim_end_matches('/').to_owned()),
        };
        let Some(node) = map.get("providers") else {
            let hint = "such as providers: [{ name: github, github: https://github.com, … }]";
            return self.fail(root.span, codes::SIGN_IN, "`providers` is missing: nobody vouches for anybody", hint);
        };
        let Value::List(list) = &node.value else {
            return self.kind(node, "`providers`", "a list", "write each with a dash, `- name: company`");
        };
        if list.is_empty() || list.len() > MOST {
            let message = format!("`providers` names {}", list.len());
            return self.fail(node.span, codes::SIGN_IN, message, format!("1 to {MOST}"));
        }
        let mut providers: Vec<Provider> = Vec::new();
        for item in list {
            let Some(provider) = self.provider(item) else { continue };
            match providers.iter().any(|other| other.name == provider.name) {
                true => {
                    let message = format!("there are two providers of the name {}", quote(&provider.name));
                    self.fail::<()>(item.span, codes::SIGN_IN, message, "give each a name of its own");
                }
                false => providers.push(provider),
            }
        }
        Some(SignIn { url, providers })
    }

    fn provider(&mut self, item: &Node) -> Option<Provider> {
        let map = self.map(item, &PROVIDER)?;
        let mut text = |key: &'static str| {
            let node = map.get(key)?;
            self.text(node, &format!("`{key}`")).map(str::to_owned)
        };
        let (title, client, secret_file) = (text("title"), text("client"), text("secret-file"));
        let (groups, called) = (text("groups"), text("called"));
        let name = match map.get("name") {
            Some(node) => self.name(node, "`name`", |name| EnvironmentName::new(name)).map(String::from),
            None => {
                let hint = "such as company: it stands in addresses and in the journal";
                self.fail(item.span, codes::SIGN_IN, "the provider has no `name`", hint)
            }
        };
        let client = client.or_else(|| {
            let missing = !map.contains_key("client");
            let hint = "the client id that the provider gave to this server";
            if missing { self.fail(item.span, codes::SIGN_IN, "the provider has no `client`", hint) } else { None }
        });
        let kind = match (map.get("oidc"), map.get("github")) {
            (Some(node), None) => {
                let issuer = self.address(node, "`oidc`");
                let scopes = map.get("scopes").map_or(Some(Vec::new()), |node| self.words(node, "`scopes`"));
                match (issuer, scopes) {
                    (Some(issuer), Some(scopes)) => {
                        let groups = groups.unwrap_or_else(|| "groups".to_owned());
                        Some(Kind::Oidc { issuer, scopes, groups, called })
                    }
                    _ => None,
                }
            }
            (None, Some(node)) => {
                for key in ["scopes", "groups", "called"] {
                    if let Some(node) = map.get(key) {
                        let message = format!("`{key}` belongs to `oidc`, and this is GitHub");
                        self.fail::<()>(node.span, codes::SIGN_IN, message, "remove it");
                    }
                }
                if !map.contains_key("secret-file") {
                    let hint = "the file with the client secret that GitHub shows once";
                    self.fail::<()>(item.span, codes::SIGN_IN, "GitHub needs a `secret-file`", hint);
                }
                let address = self.address(node, "`github`");
                address.map(|address| Kind::Github { address: address.trim_end_matches('/').to_owned() })
            }
            _ => {
                let hint = "oidc: ISSUER, or github: https://github.com";
                self.fail(item.span, codes::SIGN_IN, "the provider is neither or both of `oidc` and `github`", hint)
            }
        };
        let keys = if map.contains_key("github") { &GITHUB_RULE } else { &OIDC_RULE };
        let may = match map.get("may").map(|node| (node, &node.value)) {
            Some((_, Value::List(rules))) if (1..=RULES).contains(&rules.len()) => {
                let read: Vec<_> = rules.iter().map(|rule| self.rule(rule, keys)).collect();
                read.into_iter().collect::<Option<Vec<_>>>()
            }
            Some((node, Value::List(rules))) => {
                let message = format!("`may` has {} rules", rules.len());
                self.fail(node.span, codes::SIGN_IN, message, format!("1 to {RULES}: nobody else gets in"))
            }
            Some((node, _)) => self.kind(node, "`may`", "a list", "such as may: [{ role: viewer, group: staff }]"),
            None => {
                let hint = "such as may: [{ role: viewer, group: staff }]";
                self.fail(item.span, codes::SIGN_IN, "the provider has no `may`: nobody would get in", hint)
            }
        };
        let secret_file = secret_file.map(PathBuf::from);
        Some(Provider { name: name?, title, kind: kind?, client: client?, secret_file, may: may? })
    }

    fn rule(&mut self, item: &Node, keys: &Keys) -> Option<Rule> {
        let map = self.map(item, keys)?;
        let role = match map.get("role") {
            Some(node) => self.one_of(node, "`role`", &ROLES).map(|at| ROLES[at]),
            None => {
                let hint = format!("role: {}", ROLES.join(", "));
                self.fail(item.span, codes::SIGN_IN, "the rule has no `role`", hint)
            }
        };
        let environments = match map.get("environments") {
            None => Some(Vec::new()),
            Some(node) => match &node.value {
                Value::List(list) if !list.is_empty() => {
                    let read: Vec<_> = list
                        .iter()
                        .map(|one| self.name(one, "the environment", |name| EnvironmentName::new(name)))
                        .collect();
                    read.into_iter().collect()
                }
                _ => {
                    let hint = "such as environments: [staging]; everywhere without the key";
                    self.kind(node, "`environments`", "a list with names", hint)
                }
            },
        };
        let whom: Vec<_> = keys.known[2..].iter().filter_map(|key| Some((*key, *map.get(key)?))).collect();
        let [(key, node)] = whom[..] else {
            let message = format!("the rule names {} of {}", whom.len(), keys.known[2..].join(", "));
            return self.fail(item.span, codes::SIGN_IN, message, "one: write a rule for each");
        };
        let text = self.text(node, &format!("`{key}`"))?.to_owned();
        let wrong = match key {
            "email" if !text.contains('@') => Some("such as lena@example.com"),
            "domain" if text.contains('@') || !text.contains('.') => Some("such as example.com, without an @"),
            "team"
                if text.split('/').filter(|part| !part.is_empty()).count() != 2 || text.matches('/').count() != 1 =>
            {
                Some("such as organisation/team, as it stands in the team's address")
            }
            "organisation" | "login" if text.contains(['/', '@', ' ']) => Some("the name alone"),
            _ => None,
        };
        if let Some(hint) = wrong {
            return self.fail(node.span, codes::SIGN_IN, format!("`{key}` is {}", quote(&text)), hint);
        }
        let who = match key {
            "group" => Who::Group(text),
            "email" => Who::Email(text),
            "domain" => Who::Domain(text),
            "team" => Who::Team(text),
            "organisation" => Who::Organisation(text),
            _ => Who::Login(text),
        };
        Some(Rule { who, role: role?, environments: environments? })
    }

    /// An address by TLS, or one of this machine: what is said there is who somebody is.
    fn address(&mut self, node: &Node, what: &str) -> Option<String> {
        let text = self.text(node, what)?;
        let hint = match host(text) {
            Err(_) => "write https://HOST and perhaps a path",
            Ok((false, host)) if !is_here(host) => "write https://: what comes from there says who somebody is",
            Ok(_) => return Some(text.to_owned()),
        };
        self.fail(node.span, codes::SIGN_IN, format!("{what} is {}", quote(text)), hint)
    }

    fn words(&mut self, node: &Node, what: &str) -> Option<Vec<String>> {
        let Value::List(list) = &node.value else {
            return self.kind(node, what, "a list", "such as scopes: [groups]");
        };
        let read: Vec<_> = list
            .iter()
            .map(|item| {
                let text = self.text(item, what)?;
                match text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte)) {
                    true => Some(text.to_owned()),
                    false => self.fail(item.span, codes::SIGN_IN, format!("{} is no scope", quote(text)), "one word"),
                }
            })
            .collect();
        read.into_iter().collect()
    }
}
