//! The file as a whole: read from bytes, resolved for one environment.

use crate::{
    Diagnostic, codes,
    diagnostic::quote,
    keys,
    reader::Reader,
    tree::{self, Node, Span, Value},
    workload,
};
use davy_core::{Analysis, EnvironmentName, MetricSource, Place, Policy, Run, ServiceKey, ServiceName, Workload};

/// More errors than this are not told at once: nobody reads them.
pub(crate) const MOST: usize = 100;

/// A file without errors.
#[derive(Clone, Debug)]
pub struct File {
    service: ServiceName,
    environments: Vec<EnvironmentName>,
    /// What each of them has of its own.
    own: Vec<Own>,
    notes: Vec<Diagnostic>,
    workload: Workload,
    policy: Policy,
    /// Where the service's name stands.
    named: Span,
    /// Where what runs stands: the image, else the command.
    runs: Span,
    /// Where the environments stand.
    listed: Span,
}

/// What an environment has of its own.
#[derive(Clone, Debug, Default)]
struct Own {
    /// Where its metrics are.
    source: Option<MetricSource>,
    /// Where its containers run.
    engine: Option<String>,
}

/// What to deploy, where, and how it gets there.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// Which service, in which environment.
    pub key: ServiceKey,
    /// How it runs, and so where.
    pub workload: Workload,
    /// How it gets there.
    pub policy: Policy,
}

/// Reads a file.
///
/// # Errors
/// Every error that it has, in the order of their places, up to 100. What keeps it from being read as YAML ends the
/// reading: then that one is the last.
pub fn parse(bytes: &[u8]) -> Result<File, Vec<Diagnostic>> {
    let text = tree::text(bytes).map_err(|error| vec![error])?;
    let (root, errors) = tree::read(text);
    let mut reader = Reader { errors, notes: Vec::new() };
    let file = root.and_then(|root| reader.file(&root));
    let notes = std::mem::take(&mut reader.notes);
    reader.errors.sort_by_key(|error| (error.line, error.column));
    reader.errors.truncate(MOST);
    match file {
        Some(file) if reader.errors.is_empty() => Ok(File { notes, ..file }),
        _ => Err(reader.errors),
    }
}

impl File {
    /// The environments that it can be deployed to, in the file's order.
    #[must_use]
    pub fn environments(&self) -> &[EnvironmentName] {
        &self.environments
    }

    /// What is allowed and should be known, in the order of their places.
    #[must_use]
    pub fn notes(&self) -> &[Diagnostic] {
        &self.notes
    }

    /// What the judge may spend and must heed.
    #[must_use]
    pub fn analysis(&self) -> &Analysis {
        &self.policy.analysis
    }

    /// The same file with another image, which was asked for beside it.
    ///
    /// # Errors
    /// When the file has no image to replace, or this is none.
    pub fn with_image(mut self, image: &str) -> Result<Self, Vec<Diagnostic>> {
        let wrong = match &mut self.workload.run {
            Run::Process(_) => {
                let message = format!("{} was asked for, and the file has no `image`: a process runs", quote(image));
                self.runs.error(codes::PLACE, message, "write `image` into the file, or leave --image out")
            }
            Run::Container(_) if !workload::is_word(image) => {
                let message = format!("{} cannot be the `image` that was asked for", quote(image));
                self.runs.error(codes::CONTAINER, message, workload::IMAGE)
            }
            Run::Container(container) => {
                image.clone_into(&mut container.image);
                return Ok(self);
            }
        };
        Err(vec![wrong])
    }

    /// The deployment in one environment; the only one when none is named.
    ///
    /// # Errors
    /// When there is no such environment or service, or several environments and none is named.
    pub fn resolve(&self, environment: Option<&str>, service: Option<&str>) -> Result<Deployment, Vec<Diagnostic>> {
        let mut errors = Vec::new();
        if let Some(other) = service.filter(|service| *service != self.service.as_str()) {
            let message = format!("the file is about `{}`, not {}", self.service, quote(other));
            let hint = "name another file with --file, or leave the service out";
            errors.push(self.named.error(codes::SERVICE, message, hint));
        }
        let list = self.environments.iter().map(EnvironmentName::as_str).collect::<Vec<_>>().join(", ");
        let found = match (environment, self.environments.as_slice()) {
            (None, [_]) => Some(0),
            (None, _) => {
                let message = format!("the file has several environments: {list}");
                errors.push(self.listed.error(codes::ENVIRONMENT, message, "name one with --env"));
                None
            }
            (Some(name), all) => all.iter().position(|known| known.as_str() == name).or_else(|| {
                let message = format!("there is no environment {}", quote(name));
                errors.push(self.listed.error(codes::ENVIRONMENT, message, format!("the file has {list}")));
                None
            }),
        };
        match found.filter(|_| errors.is_empty()) {
            None => Err(errors),
            Some(at) => {
                let (mut policy, mut workload) = (self.policy.clone(), self.workload.clone());
                // Without a metric nothing is read.
                if !policy.analysis.metrics.is_empty() {
                    policy.analysis.source.clone_from(&self.own[at].source);
                }
                if let Run::Container(container) = &mut workload.run {
                    container.engine.clone_from(&self.own[at].engine);
                }
                let environment = self.environments[at].clone();
                let key = ServiceKey { service: self.service.clone(), environment };
                Ok(Deployment { key, workload, policy })
            }
        }
    }
}

impl Reader {
    fn file(&mut self, root: &Node) -> Option<File> {
        if root.is_null() {
            self.errors.push(tree::empty(root.span));
            return None;
        }
        let map = self.map(root, &keys::FILE)?;
        let service = match map.get("service") {
            Some(node) => self.name(node, "`service`", |name| ServiceName::new(name)),
            None => {
                let hint = "add a line such as `service: logo`";
                self.fail(tree::TOP, codes::MISSING, "`service` is missing", hint)
            }
        };
        let workload = self.workload(&map);
        let place = if map.contains_key("image") { Place::Docker } else { Place::Local };
        let environments = map.get("environments").map(|node| (self.environments(node, place), node.span));
        let (environments, listed) = match environments {
            Some((environments, span)) => (environments, span),
            None => {
                (EnvironmentName::new("production").into_iter().map(|name| (name, Own::default())).collect(), tree::TOP)
            }
        };
        let (environments, own): (Vec<_>, Vec<Own>) = environments.into_iter().unzip();
        let replicas = workload.as_ref().map_or(1, |workload| workload.replicas);
        let mut policy = self.policy(map.get("rollout").copied(), replicas);
        policy.notify = self.notify(map.get("notify").copied());
        let named = map.get("service").map_or(tree::TOP, |node| node.span);
        let runs = map.get("image").or_else(|| map.get("command")).map_or(tree::TOP, |node| node.span);
        self.sourced(listed, &environments, &own, &policy);
        let notes = Vec::new();
        Some(File { service: service?, environments, own, notes, workload: workload?, policy, named, runs, listed })
    }

    /// Metrics need a server in each environment: one that is not read would protect nobody.
    fn sourced(&mut self, listed: Span, environments: &[EnvironmentName], own: &[Own], policy: &Policy) {
        let mut without = environments.iter().zip(own).filter(|(_, own)| own.source.is_none());
        if let Some((name, _)) = without.next().filter(|_| !policy.analysis.metrics.is_empty()) {
            let message = format!("there are metrics, and no server to read them from in `{name}`");
            let hint =
                format!("add environments: {{ {name}: {{ metrics: {{ prometheus: \"http://127.0.0.1:9090\" }} }} }}");
            self.fail::<()>(listed, codes::SOURCE, message, hint);
        }
    }

    fn environments(&mut self, node: &Node, place: Place) -> Vec<(EnvironmentName, Own)> {
        let mut environments = Vec::new();
        let Value::Map(pairs) = &node.value else {
            let hint = "such as environments: { production: { platform: local } }";
            self.kind::<()>(node, "`environments`", "a mapping", hint);
            return environments;
        };
        if pairs.is_empty() {
            let hint = "add one, or leave the key out: then there is `production`";
            self.fail::<()>(node.span, codes::MISSING, "`environments` names none", hint);
        }
        for (key, value) in pairs {
            let name = self.name(key, "the environment", |name| EnvironmentName::new(name));
            let Some(map) = self.map(value, &keys::ENVIRONMENT) else { continue };
            // One that cannot be read is told as that, not as missing, too.
            let broken = || MetricSource { prometheus: String::new(), token: None, interval: davy_core::Millis(1) };
            let source = map.get("metrics").map(|node| self.source(node).unwrap_or_else(broken));
            let engine = map.get("engine").and_then(|node| self.engine(node, place));
            environments.extend(name.map(|name| (name, Own { source, engine })));
            let Some(node) = map.get("platform") else { continue };
            match node.scalar() {
                Some(later) if keys::LATER_PLATFORMS.contains(&later) => {
                    let message = format!("the platform `{later}` is known, but not in this version");
                    self.fail::<()>(node.span, codes::NOT_ENFORCED, message, "this version has `local` and `docker`");
                }
                _ => {
                    let known = [Place::Local, Place::Docker];
                    let named = self.one_of(node, "`platform`", &known.map(Place::as_str));
                    if named.is_some_and(|named| known[named] != place) {
                        let (message, hint) = match place {
                            Place::Local => ("a process does not run on `docker`", "write `image`, or platform: local"),
                            Place::Docker => {
                                ("an image does not run on `local`", "write platform: docker, or `command`")
                            }
                        };
                        self.fail::<()>(node.span, codes::PLACE, message, hint);
                    }
                }
            }
        }
        environments
    }
}
