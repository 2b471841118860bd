//! Values of a Compose file, in whichever form they are written.

use super::interpolate;
use crate::{
    diagnostic::quote,
    tree::{Node, Value},
};
use std::path::{Component, Path, PathBuf};

/// A mapping's keys with their values, those of merge keys (`<<`) behind its own.
pub(super) fn merged(node: &Node) -> Vec<(&str, &Node)> {
    let Value::Map(pairs) = &node.value else { return Vec::new() };
    let own = pairs.iter().filter_map(|(key, value)| Some((key.scalar()?, value))).filter(|(key, _)| *key != "<<");
    let mut all: Vec<(&str, &Node)> = own.collect();
    for (_, from) in pairs.iter().filter(|(key, _)| key.scalar() == Some("<<")) {
        let sources: Vec<&Node> = match &from.value {
            Value::List(list) => list.iter().collect(),
            _ => vec![from],
        };
        for (key, value) in sources.into_iter().flat_map(merged) {
            if !all.iter().any(|(known, _)| *known == key) {
                all.push((key, value));
            }
        }
    }
    all
}

pub(super) fn get<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    merged(node).into_iter().find(|(known, _)| *known == key).map(|(_, value)| value)
}

/// A value with the file's own defaults.
pub(super) fn plain(node: &Node) -> Result<String, String> {
    let text = node.scalar().ok_or_else(String::new)?;
    interpolate::fill(text, '$', &|_| None).map(|filled| filled.text)
}

/// The ports as they are written, in the short form, those that are published first.
pub(super) fn ports(node: &Node) -> Vec<(String, usize)> {
    let lists = ["ports", "expose"].iter().filter_map(|name| get(node, name));
    let items = lists.filter_map(|node| match &node.value {
        Value::List(list) => Some(list),
        _ => None,
    });
    let text = |item: &Node| match &item.value {
        Value::Map(_) => {
            let target = get(item, "target").and_then(Node::scalar)?.to_owned();
            let protocol = get(item, "protocol").and_then(Node::scalar).unwrap_or("tcp");
            Some((format!("{target}/{protocol}"), item.span.line))
        }
        _ => Some((item.scalar()?.to_owned(), item.span.line)),
    };
    items.flatten().filter_map(text).collect()
}

/// The container's side of `[[ADDRESS:]HOST:]PORT[/PROTOCOL]`.
pub(super) fn container_port(text: &str) -> Result<u16, String> {
    let (rest, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    if !protocol.eq_ignore_ascii_case("tcp") {
        return Err(format!("{}: the gateway carries HTTP over TCP; publish it without Davy", quote(text)));
    }
    let inner = rest.rsplit(':').next().unwrap_or_default();
    let first = inner.split('-').next().unwrap_or_default();
    let port = first.parse::<u16>().ok().filter(|port| *port > 0);
    port.ok_or_else(|| format!("{} is no port", quote(text)))
}

/// The environment in either form: name, value if there is one, line.
pub(super) fn environment(node: &Node) -> Vec<(&str, Option<String>, usize)> {
    let Some(node) = get(node, "environment") else { return Vec::new() };
    match &node.value {
        Value::List(list) => list
            .iter()
            .filter_map(|item| {
                let text = item.scalar()?;
                let (name, value) =
                    text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value.to_owned())));
                Some((name, value, item.span.line))
            })
            .collect(),
        _ => merged(node)
            .into_iter()
            .map(|(name, value)| {
                // An empty text in quotes is a value; nothing at all is none.
                let text = match &value.value {
                    Value::Quoted(text) => Some(text.clone()),
                    _ => value.scalar().map(str::to_owned),
                };
                (name, text, value.span.line)
            })
            .collect(),
    }
}

/// `512m`, `1g`, `64000000`: powers of 1024, as Compose reads them.
pub(super) fn memory(text: &str) -> Option<String> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let factor = match lower[digits..].trim() {
        "" | "b" => 1.0,
        "k" | "kb" | "kib" => 1024.0,
        "m" | "mb" | "mib" => 1_048_576.0,
        "g" | "gb" | "gib" => 1_073_741_824.0,
        _ => return None,
    };
    let bytes = lower[..digits].parse::<f64>().ok().filter(|amount| *amount > 0.0)? * factor;
    let (mebi, kibi) = (bytes / 1_048_576.0, (bytes / 1024.0).round());
    Some(if mebi.fract() == 0.0 { format!("{mebi}MiB") } else { format!("{kibi}KiB") })
}

/// The last part of an image's name, without registry, tag and digest.
pub(super) fn repository(image: &str) -> String {
    let name = image.split('@').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    name.split(':').next().unwrap_or_default().to_ascii_lowercase()
}

/// What Compose calls the project of a folder.
pub(super) fn project(folder: &Path) -> String {
    let folder = std::path::absolute(folder).map(|path| normal(&path)).unwrap_or_else(|_| folder.to_owned());
    let name = folder.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
    let name = name.trim_start_matches(['-', '_']).to_owned();
    if name.is_empty() { "default".to_owned() } else { name }
}

/// The path without `.` and `..`, as far as the text says.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if normal.file_name().is_some() => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

/// The host that a value names, if it is an address, or the whole value of something called a host.
pub(super) fn host<'a>(name: &str, value: &'a str) -> Option<&'a str> {
    let authority = value.split_once("://").map_or(value, |(_, rest)| rest);
    let authority = authority.split(['/', '?']).next()?;
    let host = authority.rsplit('@').next()?.split(':').next()?;
    (host != value || name.to_ascii_uppercase().contains("HOST")).then_some(host)
}
