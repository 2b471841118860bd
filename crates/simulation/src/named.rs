//! Policies as people name them: `davy`, `check:60s,1%`, `interval:60s,99%,5`, `failure-limit:5m,95%,3`, `rank:50`,
//! `z-test`, `oracle`.

use crate::rules::checks::Kind;
use std::{fmt, str::FromStr};

/// Which policy moves the weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Named {
    /// The machine, the judge and the guard.
    Davy,
    /// See [`crate::rules::checks`].
    Checks {
        /// Which check.
        kind: Kind,
        /// Seconds between two.
        interval_s: u64,
    },
    /// See [`crate::rules::rank`]: after so many points.
    Rank(usize),
    /// See [`crate::rules::peeking`].
    Peeking,
    /// See [`crate::rules::oracle`].
    Oracle,
}

/// Not the name of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no policy: {}", self.text, self.why)
    }
}

impl std::error::Error for Unknown {}

impl FromStr for Named {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        let unknown = |why: String| Unknown { text: text.to_owned(), why };
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let parts: Vec<&str> = rest.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
        let checks = |kind, interval_s| Ok(Self::Checks { kind, interval_s });
        match (name, parts.as_slice()) {
            ("davy", []) => Ok(Self::Davy),
            ("z-test", []) => Ok(Self::Peeking),
            ("oracle", []) => Ok(Self::Oracle),
            ("check", [every, limit]) => {
                checks(Kind::Check(percent(limit).map_err(unknown)?), seconds(every).map_err(unknown)?)
            }
            ("interval", [every, least, threshold]) => {
                let kind = Kind::Interval(percent(least).map_err(unknown)?, number(threshold).map_err(unknown)?);
                checks(kind, seconds(every).map_err(unknown)?)
            }
            ("failure-limit", [every, least, allowed]) => {
                let kind = Kind::FailureLimit(percent(least).map_err(unknown)?, number(allowed).map_err(unknown)?);
                checks(kind, seconds(every).map_err(unknown)?)
            }
            ("rank", [points]) => match number(points).map_err(unknown)? {
                0 => Err(unknown("it needs at least one point".to_owned())),
                points => Ok(Self::Rank(points as usize)),
            },
            ("check" | "interval" | "failure-limit" | "rank" | "davy" | "z-test" | "oracle", _) => {
                Err(unknown(format!("write it as {}", shape(name))))
            }
            _ => Err(unknown(format!("there are davy, {}, z-test, oracle", SHAPES.join(", ")))),
        }
    }
}

const SHAPES: [&str; 4] = ["check:60s,1%", "interval:60s,99%,5", "failure-limit:5m,95%,3", "rank:50"];

fn shape(name: &str) -> &str {
    SHAPES.into_iter().find(|shape| shape.split(':').next() == Some(name)).unwrap_or(name)
}

/// `1%`, `0.1%`, as a fraction from 0 to 1.
///
/// # Errors
///
/// What is wrong with the text.
pub fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    let percent = number.filter(|percent| (0.0..=100.0).contains(percent));
    percent
        .map(|percent| percent / 100.0)
        .ok_or_else(|| format!("`{text}` is no percentage from 0% to 100%, such as 0.1%"))
}

/// `60s`, `5m`, `1h`, as seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no time of at least a second, such as 60s or 5m");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(factor).filter(|seconds| *seconds > 0 && *seconds <= 86_400 * 30).ok_or_else(wrong)
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("`{text}` is no whole number"))
}

#[cfg(test)]
mod tests {
    use super::{Kind, Named};

    #[test]
    fn names_as_they_are_written() {
        let named = |text: &str| text.parse::<Named>();
        assert_eq!(named("davy"), Ok(Named::Davy));
        assert_eq!(named("check:60s,1%"), Ok(Named::Checks { kind: Kind::Check(0.01), interval_s: 60 }));
        assert_eq!(named("interval:1m,99%,5"), Ok(Named::Checks { kind: Kind::Interval(0.99, 5), interval_s: 60 }));
        assert_eq!(
            named("failure-limit:5m,95%,3"),
            Ok(Named::Checks { kind: Kind::FailureLimit(0.95, 3), interval_s: 300 })
        );
        assert_eq!(named("rank:50"), Ok(Named::Rank(50)));
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, part) in [
            ("check:60,1%", "no time"),
            ("check:60s,1", "no percentage"),
            ("check:60s", "write it as check:60s,1%"),
            ("interval:60s,101%,5", "no percentage"),
            ("rank:x", "no whole number"),
            ("rank:0", "at least one"),
            ("luck", "there are davy"),
            ("check:é,1%", "no time"),
        ] {
            let told = text.parse::<Named>().expect_err(text).to_string();
            assert!(told.contains(part), "{told}");
        }
    }
}
