//! A story as a receiver reads it: JSON of a stable form, or Slack's.

use crate::story::{Numbers, Story};
use davy_core::{Channel, Occasion, Receiver, ServiceKey, Timestamp};
use davy_ports::Tries;
use serde_json::{Value, json};

/// What is told; the test of a channel is no story.
pub(crate) enum Message<'a> {
    /// What happened.
    Story(&'a Story),
    /// Somebody asked whether a channel works.
    Test {
        /// Its name.
        id: &'a str,
        /// When.
        at: Timestamp,
        /// Of which service.
        key: &'a ServiceKey,
    },
}

/// Its body. `link` is the server's public address, where it has one.
pub(crate) fn body(message: &Message<'_>, channel: &Channel, link: Option<&str>) -> Vec<u8> {
    let value = match channel.to {
        Receiver::Slack { .. } => slack(message, link),
        Receiver::Webhook { .. } => webhook(message, link),
    };
    value.to_string().into_bytes()
}

impl Message<'_> {
    /// The same however often it is sent.
    pub(crate) const fn id(&self) -> &str {
        match self {
            Self::Story(story) => story.id.as_str(),
            Self::Test { id, .. } => id,
        }
    }
}

/// Fields are added, never changed or removed, while `version` is 1.
fn webhook(message: &Message<'_>, link: Option<&str>) -> Value {
    match message {
        Message::Test { id, at, key } => json!({
            "version": 1, "id": id, "event": "test", "at": time(*at), "service": key.service, "environment": key.environment,
            "text": test(key),
        }),
        Message::Story(story) => json!({
            "version": 1,
            "id": story.id,
            "event": story.occasion,
            "at": time(story.at),
            "service": story.key.service,
            "environment": story.key.environment,
            "rollout": story.rollout,
            "release": story.release,
            "kind": story.request.kind,
            "by": story.by,
            "why": story.why,
            "text": text(story),
            "numbers": story.numbers.map(|numbers| json!({
                "weight": numbers.weight,
                "canary": { "requests": numbers.canary.of, "failed": numbers.canary.failed },
                "stable": { "requests": numbers.stable.of, "failed": numbers.stable.failed },
            })),
            "link": address(story, link),
        }),
    }
}

fn slack(message: &Message<'_>, link: Option<&str>) -> Value {
    let Message::Story(story) = message else {
        let Message::Test { key, .. } = message else { return Value::Null };
        return json!({ "text": escaped(&test(key)) });
    };
    let (service, environment) = (&story.key.service, &story.key.environment);
    let mut lines = vec![
        format!("*{service}* in {environment}: *{}*", words(story.occasion)),
        format!("> {}", escaped(&sentence(&story.why))),
    ];
    lines.extend(story.numbers.map(|numbers| figures(&numbers)));
    let rollout = match address(story, link) {
        Some(address) => format!("<{}|rollout {}>", escaped(&address), story.rollout),
        None => format!("rollout {}", story.rollout),
    };
    lines.push(format!("release {}, asked for by {}, {rollout}", story.release, escaped(story.by.as_str())));
    json!({ "text": lines.join("\n") })
}

fn address(story: &Story, link: Option<&str>) -> Option<String> {
    link.map(|link| format!("{}/api/rollouts/{}", link.trim_end_matches('/'), story.rollout))
}

fn test(key: &ServiceKey) -> String {
    format!("A test from Davy: {} in {} tells this channel.", key.service, key.environment)
}

/// Everything that matters, in a line.
fn text(story: &Story) -> String {
    let (service, environment) = (&story.key.service, &story.key.environment);
    let figures = story.numbers.map(|numbers| format!(" {}", figures(&numbers))).unwrap_or_default();
    format!("{service} in {environment}: {}. {}{figures}", words(story.occasion), sentence(&story.why))
}

fn figures(numbers: &Numbers) -> String {
    let tries = |tries: Tries| format!("{} of {} requests failed", tries.failed, tries.of);
    format!("New: {}; stable: {}; last weight {}.", tries(numbers.canary), tries(numbers.stable), numbers.weight)
}

const fn words(occasion: Occasion) -> &'static str {
    match occasion {
        Occasion::Started => "rollout started",
        Occasion::Waiting => "waiting for a person",
        Occasion::Promoted => "promoted",
        Occasion::RolledBack => "rolled back",
        Occasion::Aborted => "aborted",
        Occasion::Superseded => "superseded",
        Occasion::Removed => "removed",
    }
}

/// With a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let text = text.trim();
    let mut characters = text.chars();
    let first: String = characters.next().into_iter().flat_map(char::to_uppercase).collect();
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{end}", characters.as_str())
}

/// As Slack asks for it; a line stays a line.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace(['\n', '\r'], " ")
}

fn time(at: Timestamp) -> String {
    let read = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    read.map(|at| at.to_string()).unwrap_or_default()
}
