//! `notify`: who is told of a rollout, and of what.

use crate::{
    codes, keys,
    reader::{Map, Reader},
    source::{host, is_here},
    tree::{Node, Value},
};
use davy_core::{Address, Channel, Occasion, Receiver, SecretName};

/// More of them are a mistake, and each is a connection.
const MOST: usize = 16;
/// The longest address.
const LONGEST: usize = 2048;

impl Reader {
    /// The channels, in the file's order.
    pub(crate) fn notify(&mut self, node: Option<&Node>) -> Vec<Channel> {
        let Some(node) = node else { return Vec::new() };
        let Value::List(list) = &node.value else {
            let hint = "such as notify: [{ slack: $SLACK_WEBHOOK, on: [rolled-back, waiting] }]";
            self.kind::<()>(node, "`notify`", "a list", hint);
            return Vec::new();
        };
        if list.len() > MOST {
            self.fail::<()>(node.span, codes::NOTIFY, format!("`notify` has {} channels", list.len()), "16 at most");
            return Vec::new();
        }
        let mut channels: Vec<Channel> = Vec::new();
        for item in list {
            let Some(channel) = self.channel(item) else { continue };
            match channels.iter().any(|other| other.to_string() == channel.to_string()) {
                true => {
                    let hint = "remove one, and name everything that it is told in one `on`";
                    self.fail::<()>(item.span, codes::NOTIFY, "the channel stands here twice", hint);
                }
                false => channels.push(channel),
            }
        }
        channels
    }

    fn channel(&mut self, item: &Node) -> Option<Channel> {
        let map = self.map(item, &keys::NOTIFY)?;
        let to = match (map.get("slack"), map.get("webhook")) {
            (Some(slack), None) => {
                if let Some(node) = map.get("secret") {
                    let hint = "remove it: whoever knows Slack's address may post there; there is nothing to sign";
                    return self.fail(node.span, codes::NOTIFY, "`secret` signs a webhook, and this is Slack", hint);
                }
                let text = self.text(slack, "`slack`")?;
                Receiver::Slack { address: self.named(slack, text)? }
            }
            (None, Some(webhook)) => self.webhook(&map, webhook)?,
            (slack, _) => {
                let message = match slack {
                    None => "the channel names neither `slack` nor `webhook`",
                    Some(_) => "the channel names both `slack` and `webhook`",
                };
                return self.fail(item.span, codes::NOTIFY, message, "write two items, each with its own `on`");
            }
        };
        let on = match map.get("on") {
            None => Occasion::USUAL.into(),
            Some(node) => {
                let Value::List(list) = &node.value else {
                    return self.kind(node, "`on`", "a list", "such as on: [rolled-back, promoted, waiting]");
                };
                if list.is_empty() {
                    let hint = "name what it is told of, or leave `on` out";
                    return self.fail(node.span, codes::NOTIFY, "`on` is empty: nothing would be told", hint);
                }
                let known = Occasion::ALL.map(Occasion::as_str);
                let read = list.iter().map(|item| self.one_of(item, "`on`", &known).map(|at| Occasion::ALL[at]));
                read.collect::<Option<_>>()?
            }
        };
        Some(Channel { to, on })
    }

    fn webhook(&mut self, map: &Map<'_>, node: &Node) -> Option<Receiver> {
        let text = self.text(node, "`webhook`")?;
        let address = match text.starts_with('$') {
            true => Address::Secret(self.named(node, text)?),
            false => {
                let hint = match host(text) {
                    Err(_) if text.contains(['?', '#', '@']) => Some(
                        "what follows ? or stands before @ may be a secret: set the whole address with `davy secret set HOOK` and write webhook: $HOOK",
                    ),
                    Err(_) => Some("write https://HOST/PATH, or webhook: $HOOK after `davy secret set HOOK`"),
                    Ok(_) if text.len() > LONGEST => Some("at most 2048 characters"),
                    Ok((false, host)) if !is_here(host) => Some("write https://: what it says is not everybody's"),
                    Ok(_) => None,
                };
                if let Some(hint) = hint {
                    return self.fail(node.span, codes::ADDRESS, "`webhook` is no address that can be told", hint);
                }
                Address::Plain(text.to_owned())
            }
        };
        let secret = match map.get("secret") {
            None => None,
            Some(node) => {
                let text = self.text(node, "`secret`")?;
                Some(self.named(node, text)?)
            }
        };
        Some(Receiver::Webhook { address, secret })
    }

    /// A secret by its name: `NAME` or `$NAME`. What stands there instead may be its value and is not repeated.
    fn named(&mut self, node: &Node, text: &str) -> Option<SecretName> {
        let name = text.strip_prefix('$').unwrap_or(text);
        let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
        SecretName::new(name).ok().or_else(|| {
            let hint =
                "set the value with `davy secret set NAME` and write $NAME here; if it stood here, change it where it is from";
            self.fail(node.span, codes::ADDRESS, "the name of a secret is needed, never its value", hint)
        })
    }
}
