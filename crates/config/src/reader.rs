//! Values of the tree, read one kind at a time; what is wrong is kept and the reading goes on.

use crate::{
    Code, Diagnostic, codes,
    diagnostic::quote,
    keys::Keys,
    tree::{Node, Span, Value},
    units,
};
use davy_core::Millis;
use std::collections::BTreeMap;

/// What the judge still tells from nothing, and from all.
const LEAST: f64 = 1e-9;

/// The values of a mapping by their keys.
pub(crate) type Map<'a> = BTreeMap<&'a str, &'a Node>;

/// Reads values and keeps what is wrong with them.
pub(crate) struct Reader {
    pub errors: Vec<Diagnostic>,
    /// What is allowed and should be known.
    pub notes: Vec<Diagnostic>,
}

impl Reader {
    /// Keeps an error; there is no value.
    pub(crate) fn fail<T>(
        &mut self,
        span: Span,
        code: Code,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Option<T> {
        self.errors.push(span.error(code, message, hint));
        None
    }

    /// A value of another kind than is needed here.
    pub(crate) fn kind<T>(&mut self, node: &Node, what: &str, needed: &str, hint: impl Into<String>) -> Option<T> {
        let message = match node.is_null() {
            true => format!("{what} is empty; {needed} is needed"),
            false => format!("{what} is {}; {needed} is needed", node.kind()),
        };
        self.fail(node.span, codes::TYPE, message, hint)
    }

    /// A mapping with known keys only. Nothing at all is an empty one.
    pub(crate) fn map<'a>(&mut self, node: &'a Node, keys: &Keys) -> Option<Map<'a>> {
        let pairs = match &node.value {
            Value::Map(pairs) => pairs,
            _ if node.is_null() => return Some(Map::new()),
            _ => {
                let hint = format!("write keys and values: {}", keys.known.join(", "));
                return self.kind(node, &keys.place(), "a mapping", hint);
            }
        };
        let mut map = Map::new();
        for (key, value) in pairs {
            let Some(name) = key.scalar() else {
                self.kind::<()>(key, "a key", "a name", format!("there are {}", keys.known.join(", ")));
                continue;
            };
            if keys.known.contains(&name) {
                map.insert(name, value);
            } else if keys.later.contains(&name) {
                let message = format!("`{name}` is known, but this version does not enforce it");
                let hint = "remove it, or use a version that enforces it";
                self.fail::<()>(key.span, codes::NOT_ENFORCED, message, hint);
            } else {
                let message = format!("there is no key {} in {}", quote(name), keys.place());
                self.fail::<()>(key.span, codes::UNKNOWN, message, keys.hint(name));
            }
        }
        Some(map)
    }

    /// A scalar as written.
    pub(crate) fn text<'a>(&mut self, node: &'a Node, what: &str) -> Option<&'a str> {
        let Some(text) = node.scalar() else {
            let hint = match node.value {
                _ if node.is_null() => "write a value, or remove the key",
                _ => "write one value",
            };
            return self.kind(node, what, "one value", hint);
        };
        match text.contains('\0') {
            true => self.fail(node.span, codes::NOT_TEXT, format!("{what} holds a NUL"), "remove the `\\0`"),
            false => Some(text),
        }
    }

    /// A number or a truth: never in quotes.
    fn bare<'a>(&mut self, node: &'a Node, what: &str) -> Option<&'a str> {
        let text = self.text(node, what)?;
        match node.value {
            Value::Quoted(_) => {
                let message = format!("{what} is a text in quotes");
                self.fail(node.span, codes::TYPE, message, format!("remove the quotes: {}", quote(text)))
            }
            _ => Some(text),
        }
    }

    pub(crate) fn whole(&mut self, node: &Node, what: &str, least: u64, most: u64) -> Option<u64> {
        let text = self.bare(node, what)?;
        let hint = format!("write a whole number from {least} to {most}");
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return self.fail(node.span, codes::TYPE, format!("{what} is {}, no whole number", quote(text)), hint);
        }
        match text.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Some(number),
            _ => self.fail(node.span, codes::RANGE, format!("{what} is {}", quote(text)), hint),
        }
    }

    /// A number from 1e-9, below which the judge's arithmetic promises nothing, to `most`.
    pub(crate) fn decimal(&mut self, node: &Node, what: &str, most: f64) -> Option<f64> {
        let text = self.bare(node, what)?;
        let hint = format!("write a number above 0 and at most {most}, such as 0.01");
        match text.parse::<f64>() {
            Ok(number) if (LEAST..=most).contains(&number) => Some(number),
            Ok(_) => self.fail(node.span, codes::RANGE, format!("{what} is {}", quote(text)), hint),
            Err(_) => {
                let hint = match units::fraction(text) {
                    Ok(share) => format!("it is a number, not a percentage: write {}", units::decimals(share)),
                    Err(_) => hint,
                };
                self.fail(node.span, codes::TYPE, format!("{what} is {}, no number", quote(text)), hint)
            }
        }
    }

    pub(crate) fn flag(&mut self, node: &Node, what: &str) -> Option<bool> {
        match self.bare(node, what)? {
            "true" | "True" | "TRUE" => Some(true),
            "false" | "False" | "FALSE" => Some(false),
            other => self.fail(node.span, codes::TYPE, format!("{what} is {}", quote(other)), "write true or false"),
        }
    }

    /// One of few texts.
    pub(crate) fn one_of(&mut self, node: &Node, what: &str, known: &[&str]) -> Option<usize> {
        let text = self.text(node, what)?;
        let found = known.iter().position(|other| *other == text);
        found.or_else(|| {
            let message = format!("{what} is {}", quote(text));
            self.fail(node.span, codes::RANGE, message, format!("write `{}`", known.join("` or `")))
        })
    }

    pub(crate) fn name<T>(
        &mut self,
        node: &Node,
        what: &str,
        make: impl FnOnce(&str) -> Result<T, davy_core::InvalidName>,
    ) -> Option<T> {
        let text = self.text(node, what)?;
        make(text).ok().or_else(|| {
            let message = format!("{what} is {}, which is no name", quote(text));
            let hint = "1 to 63 of a-z, 0-9 and -, beginning with a letter, not ending with -; such as shop-api";
            self.fail(node.span, codes::NAME, message, hint)
        })
    }

    /// A duration from `least` to a year.
    pub(crate) fn duration(&mut self, node: &Node, what: &str, least: Millis) -> Option<Millis> {
        let text = self.text(node, what)?;
        match units::duration(text) {
            Ok(length) if length < least => {
                let message = format!("{what} is {}", quote(text));
                self.fail(node.span, codes::RANGE, message, format!("at least {least}"))
            }
            Ok(length) => Some(length),
            Err(wrong) => {
                let message = match wrong.code == codes::UNIT {
                    true => format!("{what} is {}, which is no duration", quote(text)),
                    false => format!("{what} is {}, which is too long", quote(text)),
                };
                self.fail(node.span, wrong.code, message, wrong.hint)
            }
        }
    }

    /// A percentage between 0% and 100%, neither of them, as a fraction.
    pub(crate) fn share(&mut self, node: &Node, what: &str) -> Option<f64> {
        let text = self.text(node, what)?;
        match units::fraction(text) {
            Ok(share) if (LEAST..=1.0 - LEAST).contains(&share) => Some(share),
            Ok(_) => {
                let message = format!("{what} is {}", quote(text));
                self.fail(node.span, codes::RANGE, message, "above 0% and below 100%, such as 2%")
            }
            Err(wrong) => {
                let message = format!("{what} is {}, which is no percentage", quote(text));
                self.fail(node.span, wrong.code, message, wrong.hint)
            }
        }
    }
}
