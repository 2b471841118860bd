//! `secrets`: which ones an instance is given, and how.

use crate::{
    codes,
    diagnostic::quote,
    keys,
    reader::Reader,
    tree::{Node, Value},
};
use davy_core::{Given, Secret, SecretName};
use std::collections::BTreeMap;

/// What a secret is in an instance's environment.
fn variables(secret: &Secret) -> Vec<String> {
    let file = (secret.given == Given::File).then(|| secret.name.file_variable());
    [secret.name.as_str().to_owned()].into_iter().chain(file).collect()
}

impl Reader {
    /// The secrets of a file whose `env` is known.
    pub(crate) fn secrets(&mut self, node: &Node, env: &BTreeMap<String, String>) -> Vec<Secret> {
        let Value::List(list) = &node.value else {
            self.kind::<()>(node, "`secrets`", "a list", "such as secrets: [DB_PASSWORD]");
            return Vec::new();
        };
        let mut secrets: Vec<Secret> = Vec::new();
        for item in list {
            let Some(secret) = self.secret(item) else { continue };
            let taken = variables(&secret);
            let twice = secrets.iter().flat_map(variables).any(|name| taken.contains(&name));
            let variable = taken.iter().find(|name| *name == "PORT" || env.contains_key(*name));
            match variable {
                _ if twice => {
                    let message = format!("the secret `{}` is given twice", secret.name);
                    self.fail::<()>(item.span, codes::DUPLICATE, message, "remove one");
                }
                Some(name) => {
                    let message = format!("`{name}` is both a variable and a secret");
                    let hint = "remove it from `env`, or give the secret another name";
                    self.fail::<()>(item.span, codes::DUPLICATE, message, hint);
                }
                None => secrets.push(secret),
            }
        }
        secrets
    }

    fn secret(&mut self, item: &Node) -> Option<Secret> {
        let (node, given) = match &item.value {
            Value::Map(_) => {
                let map = self.map(item, &keys::SECRET)?;
                let file = map.get("file").map_or(Some(false), |node| self.flag(node, "`file`"));
                let Some(name) = map.get("name") else {
                    let hint = "such as { name: TLS_KEY, file: true }";
                    return self.fail(item.span, codes::MISSING, "the secret has no `name`", hint);
                };
                (*name, if file? { Given::File } else { Given::Variable })
            }
            _ => (item, Given::Variable),
        };
        let text = self.text(node, "a secret")?;
        match SecretName::new(text) {
            Ok(name) => Some(Secret { name, given, pin: None }),
            Err(_) => {
                let message = format!("{} cannot be the name of a secret", quote(text));
                let hint = match text.contains(['=', ' ']) {
                    true => "only the name stands here, never the value: `davy secret set NAME` asks for it",
                    false => "it is a variable's name: letters, digits and _, not beginning with a digit",
                };
                self.fail(node.span, codes::NAME, message, hint)
            }
        }
    }
}
