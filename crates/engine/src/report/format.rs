//! Numbers, times and foreign text in Markdown. What others wrote (commands, the last lines of a crashed process) is shown
//! as text and can neither break a table nor become markup.

use davy_core::Timestamp;

/// `1234567` as `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `3 requests`, `1 request`.
pub(super) fn counted(number: u64, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {noun}{s}", count(number))
}

/// `4 of 83 (4.82 %)`.
pub(super) fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "no requests".to_owned();
    }
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let percent = 100.0 * part as f64 / whole as f64;
    format!("{} of {} ({percent:.2} %)", count(part), count(whole))
}

/// RFC 3339, UTC, to the millisecond.
pub(super) fn time(at: Timestamp) -> String {
    let known = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    known.map_or_else(|| format!("{} ms after 1970", at.0), |at| format!("{at:.3}"))
}

/// An e-value, from its logarithm: how many times likelier what was seen is if the canary is as is claimed.
pub(super) fn odds(ln: f64) -> String {
    match ln.exp() {
        e if e >= 1e6 => "more than 1,000,000".to_owned(),
        e if e < 0.01 => "less than 0.01".to_owned(),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 100 to a million")]
        e if e >= 100.0 => count(e.round() as u64),
        e if e >= 10.0 => format!("{e:.1}"),
        e => format!("{e:.2}"),
    }
}

/// Text of others within a line.
pub(super) fn text(foreign: &str) -> String {
    let mut safe = String::with_capacity(foreign.len());
    for character in foreign.trim().chars() {
        match character {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~' => safe.extend(['\\', character]),
            '\n' => safe.push_str(" / "),
            control if control.is_control() => safe.push(' '),
            plain => safe.push(plain),
        }
    }
    safe
}

/// Text of others as code within a line.
pub(super) fn code(foreign: &str) -> String {
    let plain: String = foreign
        .chars()
        .map(|character| match character {
            '`' => '\'',
            control if control.is_control() => ' ',
            plain => plain,
        })
        .collect();
    format!("`{}`", plain.replace('|', "\\|"))
}

/// As a sentence of its own: a capital at its begin, a full stop at its end.
pub(super) fn sentence(words: &str) -> String {
    let words = text(words);
    let stop = if words.is_empty() || words.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{}{stop}", capital(&words))
}

/// With a capital at its begin.
pub(super) fn capital(words: &str) -> String {
    let mut characters = words.chars();
    characters.next().map_or_else(String::new, |first| format!("{}{}", first.to_uppercase(), characters.as_str()))
}

/// A digest as people compare it: its kind and the first twelve digits.
pub(super) fn short(digest: &str) -> String {
    let (kind, digits) = digest.split_once(':').map_or(("", digest), |(kind, digits)| (kind, digits));
    let colon = if kind.is_empty() { "" } else { ":" };
    let digits: String = digits.chars().take(12).collect();
    format!("{kind}{colon}{digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_text() {
        assert_eq!(
            text("panicked at |x|\n<script>`a`</script>\u{1b}[31m"),
            r"panicked at \|x\| / \<script\>\`a\`\</script\> \[31m"
        );
        assert_eq!(code("./run `a` | b\n"), r"`./run 'a' \| b `");
        assert_eq!(sentence("the new release failed"), "The new release failed.");
        assert_eq!(sentence("Safe: proven."), "Safe: proven.");
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(share(4, 83), "4 of 83 (4.82 %)");
        assert_eq!(time(Timestamp(1_700_000_000_050)), "2023-11-14T22:13:20.050Z");
        assert_eq!(time(Timestamp(u64::MAX)), "18446744073709551615 ms after 1970");
        assert_eq!(
            (odds(0.0), odds(5.2), odds(700.0), odds(1e9), odds(-9.0)),
            ("1.00".into(), "181".into(), odds(800.0), odds(800.0), "less than 0.01".into())
        );
        assert_eq!(short("sha256:0123456789abcdef"), "sha256:0123456789ab");
    }
}
