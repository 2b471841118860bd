//! A Compose file: its services, and which of them is likely to be meant.

use super::{
    Refusal,
    values::{container_port, get, merged, normal, plain, ports, project, repository},
};
use crate::{
    diagnostic::quote,
    tree::{self, Node, Value},
};
use std::path::{Path, PathBuf};

/// Images of stores: their data has one writer, so that a canary of one is never meant.
const STORES: [&str; 19] = [
    "postgres",
    "postgis",
    "mysql",
    "mariadb",
    "mongo",
    "redis",
    "valkey",
    "memcached",
    "rabbitmq",
    "kafka",
    "zookeeper",
    "elasticsearch",
    "opensearch",
    "minio",
    "cassandra",
    "clickhouse",
    "influxdb",
    "etcd",
    "nats",
];

/// A Compose file that was read.
#[derive(Clone, Debug)]
pub struct Compose {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) project: String,
    pub(super) root: Node,
    pub(super) services: Vec<Service>,
}

/// One of its services.
#[derive(Clone, Debug)]
pub struct Service {
    /// As the file names it.
    pub name: String,
    /// What it is, for a list: `built here, port 8080`.
    pub what: String,
    /// Whether a canary of it is likely to be meant: it is built here, or serves and is no store.
    pub is_likely: bool,
    /// Its Dockerfile, if it is built here, and the stage that counts.
    pub dockerfile: Option<(PathBuf, Option<String>)>,
    pub(super) line: usize,
}

impl Compose {
    /// Reads one. `name` is how it is called in reasons, `folder` where it is: paths in it begin there.
    ///
    /// # Errors
    /// What keeps it from being read, with its line.
    pub fn read(name: &str, bytes: &[u8], folder: &Path) -> Result<Self, Refusal> {
        let hint = "a Compose file has `services:` with a name for each";
        let (root, errors) = tree::read(tree::text(bytes)?);
        if let Some(error) = errors.into_iter().next() {
            let empty = error.code == crate::codes::EMPTY;
            let refusal = Refusal::from(error);
            return Err(if empty { Refusal { hint: hint.to_owned(), ..refusal } } else { refusal });
        }
        let root = root.ok_or_else(|| Refusal::new(1, "the file is empty", hint))?;
        let listed = get(&root, "services").filter(|node| matches!(node.value, Value::Map(_)));
        let line = root.span.line;
        let listed = listed.ok_or_else(|| Refusal::new(line, "there are no `services` in it", hint))?;
        let called = get(&root, "name").and_then(|node| plain(node).ok()).filter(|name| !name.is_empty());
        let project = called.unwrap_or_else(|| project(folder));
        let mut compose = Self {
            name: name.to_owned(),
            folder: folder.to_owned(),
            project,
            services: Vec::new(),
            root: root.clone(),
        };
        for (key, node) in merged(listed) {
            compose.services.push(compose.service(key, node));
        }
        match compose.services.is_empty() {
            true => Err(Refusal::new(line, "there are no `services` in it", hint)),
            false => Ok(compose),
        }
    }

    /// Its services, in the file's order.
    #[must_use]
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    fn service(&self, name: &str, node: &Node) -> Service {
        let build = get(node, "build");
        let image = get(node, "image").and_then(|node| plain(node).ok());
        let base = image.as_deref().map(repository).unwrap_or_default();
        let store = STORES.contains(&base.as_str());
        let port = ports(node).into_iter().find_map(|(text, _)| container_port(&text).ok());
        let mut what = match (&build, &image) {
            (Some(_), _) => "built here".to_owned(),
            (None, Some(image)) => quote(image).trim_matches('`').to_owned(),
            (None, None) => "no image".to_owned(),
        };
        if let Some(port) = port {
            what.push_str(&format!(", port {port}"));
        }
        if store {
            what.push_str(", a store");
        }
        Service {
            name: name.to_owned(),
            what,
            is_likely: build.is_some() && !store || port.is_some() && image.is_some() && !store,
            dockerfile: build.and_then(|build| self.dockerfile(build)),
            line: node.span.line,
        }
    }

    fn dockerfile(&self, build: &Node) -> Option<(PathBuf, Option<String>)> {
        let text = |name: &str| get(build, name).and_then(|node| plain(node).ok());
        if get(build, "dockerfile_inline").is_some() {
            return None;
        }
        let context = plain(build).ok().or_else(|| text("context")).unwrap_or_else(|| ".".to_owned());
        if context.contains("://") || context.starts_with("git@") {
            return None;
        }
        let file = text("dockerfile").unwrap_or_else(|| "Dockerfile".to_owned());
        Some((normal(&self.folder.join(context).join(file)), text("target")))
    }
}
