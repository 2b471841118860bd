//! Hides secrets in what instances write, as a stream: also when a read ends in the middle of one.
//!
//! What is looked for: the value, each of its lines, and both as base64 (at every offset, so also inside `user:password`),
//! hexadecimal, percent-encoded and escaped as in JSON. Long ones are looked for in pieces, so that a cut one shows no
//! more than a piece. What is shorter than four bytes cannot be hidden without making output unreadable.

use base64::{Engine, engine::general_purpose as codec};
use davy_ports::{Error, SecretValue};
use std::collections::{HashMap, HashSet};

/// Shorter values are not hidden.
const SHORTEST: usize = 4;
/// Shorter lines of a value with several are not: a brace on a line of its own is no secret.
const SHORTEST_LINE: usize = 8;
/// Longer ones are looked for piece by piece.
const PIECE: usize = 48;
const HIDDEN: &[u8] = b"***";

/// What hides a set of secrets.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    /// What is looked for, by its first bytes, the longest first.
    patterns: HashMap<[u8; SHORTEST], Vec<Vec<u8>>>,
    /// Whether any begins with a byte.
    first: Vec<bool>,
    longest: usize,
}

/// A stream of output and what of it is held back: it could be the beginning of a secret.
#[derive(Clone, Debug, Default)]
pub struct Masked {
    held: Vec<u8>,
    /// Whether the last that was let through was a hidden piece.
    hidden: bool,
}

impl Mask {
    /// Hides these values.
    #[must_use]
    pub fn new<'a>(values: impl IntoIterator<Item = &'a SecretValue>) -> Self {
        let mut all = HashSet::new();
        for value in values {
            let value = value.bytes();
            let whole = value.strip_suffix(b"\n").unwrap_or(value);
            add(&mut all, value, SHORTEST);
            add(&mut all, whole, SHORTEST);
            if whole.contains(&b'\n') {
                for line in whole.split(|byte| *byte == b'\n') {
                    add(&mut all, line.strip_suffix(b"\r").unwrap_or(line), SHORTEST_LINE);
                }
            }
        }
        let mut mask = Self { first: vec![false; 256], ..Self::default() };
        for pattern in all {
            let Some(head) = pattern.first_chunk::<SHORTEST>().copied() else { continue };
            mask.first[usize::from(head[0])] = true;
            mask.longest = mask.longest.max(pattern.len());
            mask.patterns.entry(head).or_default().push(pattern);
        }
        for patterns in mask.patterns.values_mut() {
            patterns.sort_by_key(|pattern| std::cmp::Reverse(pattern.len()));
        }
        mask
    }

    /// Whether there is nothing to hide.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// A whole text with every secret in it hidden.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        if self.is_empty() {
            return text.to_owned();
        }
        let mut stream = Masked::default();
        let mut out = stream.take(self, text.as_bytes());
        out.extend(stream.end(self));
        String::from_utf8_lossy(&out).into_owned()
    }

    /// A failure whose words may hold what was asked for.
    #[must_use]
    pub fn error(&self, error: Error) -> Error {
        Error { happened: self.text(&error.happened), ..error }
    }

    /// How long what begins here and is to be hidden is.
    fn hides(&self, bytes: &[u8]) -> Option<usize> {
        if !self.first[usize::from(*bytes.first()?)] {
            return None;
        }
        let candidates = self.patterns.get(bytes.first_chunk::<SHORTEST>()?)?;
        candidates.iter().find(|pattern| bytes.starts_with(pattern)).map(Vec::len)
    }

    /// Whether this may be the beginning of something to be hidden.
    fn may_begin(&self, bytes: &[u8]) -> bool {
        if bytes.len() >= self.longest || !bytes.first().is_some_and(|first| self.first[usize::from(*first)]) {
            return false;
        }
        match bytes.first_chunk::<SHORTEST>() {
            Some(head) => self.patterns.get(head).is_some_and(|all| all.iter().any(|one| one.starts_with(bytes))),
            None => self.patterns.keys().any(|head| head.starts_with(bytes)),
        }
    }
}

impl Masked {
    /// Takes more output and gives what may be shown. Nothing to be hidden goes over the end of a line.
    pub fn take(&mut self, mask: &Mask, bytes: &[u8]) -> Vec<u8> {
        if mask.is_empty() {
            return bytes.to_vec();
        }
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        let mut out = Vec::with_capacity(all.len());
        let mut at = 0;
        while at < all.len() {
            let rest = &all[at..];
            // A longer one may still become whole: the shorter one that it begins with waits for it.
            if rest.len() < mask.longest && mask.may_begin(rest) {
                self.held = rest.to_vec();
                return out;
            }
            match mask.hides(rest) {
                Some(length) => {
                    self.hide(&mut out);
                    at += length;
                }
                None => {
                    self.hidden = false;
                    out.push(all[at]);
                    at += 1;
                }
            }
        }
        out
    }

    /// What was held back and is no secret after all.
    pub fn end(&mut self, mask: &Mask) -> Vec<u8> {
        let held = std::mem::take(&mut self.held);
        let mut out = Vec::with_capacity(held.len());
        let mut at = 0;
        while at < held.len() {
            match mask.hides(&held[at..]) {
                Some(length) => {
                    self.hide(&mut out);
                    at += length;
                }
                None => {
                    self.hidden = false;
                    out.push(held[at]);
                    at += 1;
                }
            }
        }
        self.hidden = false;
        out
    }

    fn hide(&mut self, out: &mut Vec<u8>) {
        if !self.hidden {
            out.extend_from_slice(HIDDEN);
        }
        self.hidden = true;
    }
}

fn add(all: &mut HashSet<Vec<u8>>, value: &[u8], shortest: usize) {
    if value.len() < shortest {
        return;
    }
    let mut forms: Vec<Vec<u8>> = vec![hex(value, false), hex(value, true), escaped(value)];
    if !value.contains(&b'\n') {
        forms.push(value.to_vec());
    }
    forms.extend([b"".as_slice(), b" ", b"!'()*"].map(|kept| percent(value, kept)));
    for offset in 0..3 {
        forms.extend([base64(&codec::STANDARD_NO_PAD, value, offset), base64(&codec::URL_SAFE_NO_PAD, value, offset)]);
    }
    for form in forms.into_iter().filter(|form| form.len() >= SHORTEST) {
        if form.len() <= PIECE {
            all.insert(form);
            continue;
        }
        // The last piece reaches back, so that none is too short to be a secret's own.
        let last = form.len() - PIECE;
        for begin in (0..last).step_by(PIECE).chain([last]) {
            all.insert(form[begin..begin + PIECE].to_vec());
        }
        let rest = form.len() % PIECE;
        if rest >= SHORTEST_LINE {
            all.insert(form[form.len() - rest..].to_vec());
        }
    }
}

/// What of the base64 of any text with the value at this offset (modulo three) depends on the value alone.
fn base64(codec: &codec::GeneralPurpose, value: &[u8], offset: usize) -> Vec<u8> {
    let padded: Vec<u8> = std::iter::repeat_n(0, offset).chain(value.iter().copied()).collect();
    let text = codec.encode(&padded).into_bytes();
    let begin = [0, 2, 3][offset];
    let end = padded.len() / 3 * 4 + [0, 1, 2][padded.len() % 3];
    text.get(begin..end).unwrap_or_default().to_vec()
}

fn hex(value: &[u8], upper: bool) -> Vec<u8> {
    let digits = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    value.iter().flat_map(|byte| [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]).collect()
}

/// Percent-encoded; what is in `kept` stays, and a space that is kept becomes a plus, as in forms.
fn percent(value: &[u8], kept: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for byte in value {
        match byte {
            b' ' if kept.contains(byte) => out.push(b'+'),
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) || kept.contains(byte) => out.push(*byte),
            byte => {
                out.push(b'%');
                out.extend(hex(&[*byte], true));
            }
        }
    }
    out
}

/// As between the quotes of a JSON text.
fn escaped(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for byte in value {
        match byte {
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            b'"' | b'\\' => out.extend([b'\\', *byte]),
            byte => out.push(*byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(values: &[&str]) -> Mask {
        let values: Vec<_> = values.iter().map(|value| SecretValue::new(value.as_bytes().to_vec())).collect();
        Mask::new(&values)
    }

    /// Cut at every place, and byte by byte, it shows the same.
    fn shown(mask: &Mask, text: &str) -> String {
        let whole = mask.text(text);
        for cut in 0..=text.len() {
            let mut stream = Masked::default();
            let (one, two) = text.as_bytes().split_at(cut);
            let mut out = stream.take(mask, one);
            out.extend(stream.take(mask, two));
            out.extend(stream.end(mask));
            assert_eq!(String::from_utf8_lossy(&out), whole, "cut at {cut}");
        }
        let mut stream = Masked::default();
        let mut out: Vec<u8> = text.bytes().flat_map(|byte| stream.take(mask, &[byte])).collect();
        out.extend(stream.end(mask));
        assert_eq!(String::from_utf8_lossy(&out), whole, "byte by byte");
        whole
    }

    #[test]
    fn a_value_is_hidden_in_every_form_and_wherever_a_read_ends() {
        let value = "p@ss \"word\"/7+é!";
        let mask = mask(&[value]);
        let url: String = percent(value.as_bytes(), b"").iter().map(|byte| char::from(*byte)).collect();
        let forms = [
            value.to_owned(),
            "p@ss \\\"word\\\"/7+é!".to_owned(),
            url.clone(),
            url.replace("%20", "+"),
            url.replace("%21", "!"),
            hex(value.as_bytes(), false).iter().map(|byte| char::from(*byte)).collect(),
        ];
        for form in forms {
            assert_eq!(shown(&mask, &format!("before {form} after\nnext {form}\n")), "before *** after\nnext ***\n");
        }
        for before in ["", "u", "us", "user:"] {
            for codec in [&codec::STANDARD, &codec::URL_SAFE, &codec::STANDARD_NO_PAD] {
                let basic = codec.encode(format!("{before}{value}:after"));
                let seen = shown(&mask, &basic);
                let left = seen.replace("***", "").len();
                assert!(seen.contains("***") && left < 24, "{basic}: {seen}");
            }
        }
        assert_eq!(shown(&mask, "p@ss \"wor and p@ss"), "p@ss \"wor and p@ss", "what only begins like it is shown");
    }

    #[test]
    fn lines_of_a_key_are_hidden_each_and_in_json() {
        let key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEF\n}\nAAOCAQ8AMIIBCgKCAQEA\n-----END KEY-----\n";
        let mask = mask(&[key]);
        assert_eq!(shown(&mask, key), "***\n***\n}\n***\n***\n");
        let json = format!("{{\"key\":\"{}\"}}", key.replace('\n', "\\n"));
        assert_eq!(shown(&mask, &json), "{\"key\":\"***\"}");
    }

    #[test]
    fn a_long_value_is_hidden_also_when_it_is_cut() {
        let long: String = (0..400).map(|index| char::from(b'a' + (index * index % 23) as u8)).collect();
        let mask = mask(&[&long]);
        assert_eq!(mask.text(&format!("x{long}y")), "x***y");
        let cut = mask.text(&long[..300]);
        assert!(cut.starts_with("***") && cut.len() < PIECE + 4, "{cut}");
    }

    #[test]
    fn the_longer_of_two_is_hidden_and_the_shortest_are_not() {
        let mask = mask(&["hunter2", "hunter2extended", "abc"]);
        assert_eq!(shown(&mask, "hunter2extended hunter2 hunter2ext abc"), "*** *** ***ext abc");
        assert!(Mask::new(&[]).is_empty());
        assert_eq!(Mask::new(&[]).text("as it is"), "as it is");
    }
}
