//! What each address needs: a role, and where its token has to reach. What is not in this list is refused.

use crate::{Shared, problem::Problem};
use axum::http::{Method, StatusCode, header};
use davy_core::RolloutId;
use davy_engine::{Caller, Role};

/// Where a token has to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Every environment: it is about the server itself.
    Everywhere,
    /// The environment in the address.
    Named,
    /// That of the rollout in the address.
    Rollout,
    /// What the handler finds: it checks, or shows no more than is in reach.
    Handled,
}

/// One address.
struct Rule {
    method: Method,
    path: &'static str,
    role: Role,
    reach: Reach,
}

const fn rule(method: Method, path: &'static str, role: Role, reach: Reach) -> Rule {
    Rule { method, path, role, reach }
}

const RULES: &[Rule] = &[
    rule(Method::GET, "/api/health", Role::Viewer, Reach::Handled),
    rule(Method::GET, "/api/openapi.json", Role::Viewer, Reach::Handled),
    rule(Method::POST, "/api/deploy", Role::Deployer, Reach::Handled),
    rule(Method::POST, "/api/deploy/check", Role::Deployer, Reach::Handled),
    rule(Method::GET, "/api/rollouts", Role::Viewer, Reach::Handled),
    rule(Method::GET, "/api/rollouts/{id}", Role::Viewer, Reach::Rollout),
    rule(Method::GET, "/api/rollouts/{id}/events", Role::Viewer, Reach::Rollout),
    rule(Method::GET, "/api/rollouts/{id}/timeline", Role::Viewer, Reach::Rollout),
    rule(Method::GET, "/api/rollouts/{id}/changes", Role::Viewer, Reach::Rollout),
    rule(Method::GET, "/api/rollouts/{id}/report", Role::Viewer, Reach::Rollout),
    rule(Method::POST, "/api/rollouts/{id}/report", Role::Viewer, Reach::Rollout),
    rule(Method::POST, "/api/rollouts/{id}/promote", Role::Approver, Reach::Rollout),
    rule(Method::POST, "/api/rollouts/{id}/pause", Role::Deployer, Reach::Rollout),
    rule(Method::POST, "/api/rollouts/{id}/resume", Role::Deployer, Reach::Rollout),
    rule(Method::POST, "/api/rollouts/{id}/abort", Role::Deployer, Reach::Rollout),
    rule(Method::GET, "/api/services", Role::Viewer, Reach::Handled),
    rule(Method::GET, "/api/services/{environment}/{service}", Role::Viewer, Reach::Named),
    rule(Method::GET, "/api/services/{environment}/{service}/traffic", Role::Viewer, Reach::Named),
    rule(Method::GET, "/api/services/{environment}/{service}/logs", Role::Viewer, Reach::Named),
    rule(Method::POST, "/api/services/{environment}/{service}/rollback", Role::Deployer, Reach::Named),
    rule(Method::POST, "/api/services/{environment}/{service}/remove", Role::Admin, Reach::Named),
    rule(Method::POST, "/api/services/{environment}/{service}/notify/test", Role::Deployer, Reach::Named),
    rule(Method::POST, "/api/services/{environment}/{service}/metrics/check", Role::Deployer, Reach::Named),
    rule(Method::GET, "/api/secrets", Role::Viewer, Reach::Handled),
    rule(Method::POST, "/api/secrets", Role::Admin, Reach::Handled),
    rule(Method::POST, "/api/secrets/remove", Role::Admin, Reach::Handled),
    rule(Method::GET, "/api/notify", Role::Viewer, Reach::Handled),
    rule(Method::POST, "/api/notify/test", Role::Deployer, Reach::Handled),
    rule(Method::GET, "/api/tokens", Role::Admin, Reach::Everywhere),
    rule(Method::POST, "/api/tokens", Role::Admin, Reach::Everywhere),
    rule(Method::POST, "/api/tokens/{name}/revoke", Role::Admin, Reach::Everywhere),
    rule(Method::GET, "/api/session", Role::Viewer, Reach::Handled),
    rule(Method::DELETE, "/api/session", Role::Viewer, Reach::Handled),
    rule(Method::POST, "/api/session/codes", Role::Admin, Reach::Everywhere),
    rule(Method::GET, "/api/sessions", Role::Admin, Reach::Everywhere),
    rule(Method::POST, "/api/sessions/{name}/end", Role::Admin, Reach::Everywhere),
    rule(Method::POST, "/api/checkpoint", Role::Admin, Reach::Everywhere),
    rule(Method::POST, "/api/audit/verify", Role::Admin, Reach::Everywhere),
    rule(Method::GET, "/api/deeds", Role::Admin, Reach::Everywhere),
    rule(Method::GET, "/api/set-up/found", Role::Viewer, Reach::Everywhere),
    rule(Method::POST, "/api/set-up/draft", Role::Deployer, Reach::Handled),
    rule(Method::POST, "/api/set-up/review", Role::Deployer, Reach::Handled),
    rule(Method::POST, "/api/set-up/check", Role::Deployer, Reach::Handled),
    rule(Method::POST, "/api/set-up/forecast", Role::Deployer, Reach::Handled),
    rule(Method::GET, "/api/events", Role::Viewer, Reach::Handled),
    rule(Method::POST, "/api/shutdown", Role::Admin, Reach::Everywhere),
];

/// What is answered to those who have not signed in yet: each looks for itself at who asks.
const OPEN: &[(Method, &str)] = &[
    (Method::POST, "/api/session"),
    (Method::GET, "/api/session/ways"),
    (Method::GET, "/api/session/start/{name}"),
    (Method::GET, "/api/session/callback/{name}"),
];

/// Whether an address is for those who have not signed in yet.
pub(crate) fn is_open(method: &Method, matched: &str) -> bool {
    let asked = if method == Method::HEAD { &Method::GET } else { method };
    OPEN.iter().any(|(known, path)| known == asked && *path == matched)
}

/// Every address that somebody may use: its method and its pattern.
pub fn addresses() -> impl Iterator<Item = (&'static str, &'static str)> {
    let open = OPEN.iter().map(|(method, path)| (method.as_str(), *path));
    RULES.iter().map(|rule| (rule.method.as_str(), rule.path)).chain(open)
}

/// The role that an address needs; none where nobody has to be known.
pub(crate) fn needs(method: &Method, path: &str) -> Option<Role> {
    RULES.iter().find(|rule| rule.method == *method && rule.path == path).map(|rule| rule.role)
}

/// What an address that is there answers to a method that it does not take.
fn no_such_method(method: &Method, path: &str) -> Problem {
    let mut allowed: Vec<&str> =
        addresses().filter(|(_, pattern)| *pattern == path).map(|(method, _)| method).collect();
    if allowed.contains(&"GET") {
        allowed.push("HEAD");
    }
    let allowed = allowed.join(", ");
    let why = format!("this address does not take {method}, only {allowed}");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "A032", why).header(header::ALLOW, allowed)
}

/// Whether the caller may use this address at all. `matched` is its pattern, `path` what was asked for.
pub(crate) async fn check(
    shared: &Shared,
    caller: &Caller,
    method: &Method,
    matched: &str,
    path: &str,
) -> Result<(), Problem> {
    // What may be read may be asked about.
    let asked = if method == Method::HEAD { &Method::GET } else { method };
    let Some(rule) = RULES.iter().find(|rule| rule.method == *asked && rule.path == matched) else {
        return Err(match addresses().any(|(_, path)| path == matched) {
            true => no_such_method(method, matched),
            false => denied(caller, "nobody may use this address"),
        });
    };
    need(caller, rule.role)?;
    match rule.reach {
        Reach::Handled => Ok(()),
        Reach::Everywhere if caller.is_everywhere() => Ok(()),
        Reach::Everywhere => Err(denied(caller, "this needs a token for every environment")),
        // As it stands in the address: an encoded name is none of the caller's.
        Reach::Named => reach(caller, segment(matched, path, "{environment}")),
        Reach::Rollout if caller.is_everywhere() => Ok(()),
        Reach::Rollout => {
            let id = RolloutId::new(segment(matched, path, "{id}"));
            let key = match shared.engine.under_way(&id) {
                Some(live) => live.key,
                None => shared.engine.rollout(&id)?.key,
            };
            reach(caller, key.environment.as_str())
        }
    }
}

fn segment<'a>(matched: &str, path: &'a str, name: &str) -> &'a str {
    matched.split('/').zip(path.split('/')).find(|(pattern, _)| *pattern == name).map_or("", |(_, value)| value)
}

/// Whether the caller has a role.
pub(crate) fn need(caller: &Caller, role: Role) -> Result<(), Problem> {
    if caller.role >= role { Ok(()) } else { Err(denied(caller, &format!("this needs {}", role.with_article()))) }
}

/// Whether an environment is in the caller's reach.
pub(crate) fn reach(caller: &Caller, environment: &str) -> Result<(), Problem> {
    match caller.reaches(environment) {
        true => Ok(()),
        false => Err(denied(caller, &format!("this needs a token for the environment `{environment}`"))),
    }
}

pub(crate) fn denied(caller: &Caller, needed: &str) -> Problem {
    let problem = Problem::new(StatusCode::FORBIDDEN, "A017", format!("{}, and {needed}", caller.words()));
    problem.hint(match caller.session {
        Some(_) => "ask somebody who may; an admin gives you more with `davy sign-in --role ROLE --name NAME`",
        None => "use another token with --token-file; an admin makes one with `davy token create`",
    })
}
