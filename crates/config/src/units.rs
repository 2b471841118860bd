//! Durations and percentages, always with their units.

use crate::{Code, codes};
use davy_core::{Millis, Weight};

/// No duration is longer than a year.
const LONGEST: f64 = 365.0 * 24.0 * 3600.0 * 1000.0;

/// Why a value is none, and what to write instead.
pub(crate) struct Wrong {
    pub code: Code,
    pub hint: String,
}

fn unit(hint: impl Into<String>) -> Wrong {
    Wrong { code: codes::UNIT, hint: hint.into() }
}

fn range(hint: &str) -> Wrong {
    Wrong { code: codes::RANGE, hint: hint.to_owned() }
}

/// The units, from the longest to the shortest, in milliseconds.
const UNITS: [(&str, f64); 5] = [("d", 86_400_000.0), ("h", 3_600_000.0), ("m", 60_000.0), ("s", 1000.0), ("ms", 1.0)];

/// `250ms`, `1.5s`, `60s`, `1m30s`, `24h`, `7d`. The schema's pattern says the same.
pub(crate) fn duration(text: &str) -> Result<Millis, Wrong> {
    let form = || unit("write it with its unit, such as 250ms, 60s, 1m30s, 15m or 24h");
    if text.is_empty() {
        return Err(form());
    }
    if number(text).is_some() {
        return Err(unit(format!("write its unit: {text}s, or {text}m")));
    }
    let mut total = 0.0_f64;
    let mut least = UNITS.len();
    let mut written = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(form)?;
        let amount = number(&rest[..digits]).ok_or_else(form)?;
        let after = rest[digits..].trim_start();
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let name = match after[..end].to_ascii_lowercase().as_str() {
            "ms" | "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" => "ms",
            "s" | "sec" | "secs" | "second" | "seconds" => "s",
            "m" | "min" | "mins" | "minute" | "minutes" => "m",
            "h" | "hr" | "hrs" | "hour" | "hours" => "h",
            "d" | "day" | "days" => "d",
            _ => return Err(form()),
        };
        let at = UNITS.iter().rposition(|(unit, _)| *unit == name).ok_or_else(form)?;
        if written.is_empty() || at > least {
            total += amount * UNITS[at].1;
        } else {
            return Err(unit("the longer unit comes first, each once, such as 1m30s"));
        }
        least = at;
        written.push_str(&format!("{}{name}", &rest[..digits]));
        rest = after[end..].trim_start();
    }
    if written != text {
        return Err(unit(format!("write {written}")));
    }
    if total > LONGEST {
        return Err(range("at most 365d"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be within a year")]
    Ok(Millis(total.round() as u64))
}

/// `5%`, `0.1%`: a fraction of 1. The schema's pattern says the same.
pub(crate) fn fraction(text: &str) -> Result<f64, Wrong> {
    if let Some(value) = number(text) {
        return Err(unit(match value > 0.0 && value < 1.0 {
            true => format!("write its unit: {}%, or {text}% if so little is meant", decimals(value * 100.0)),
            false => format!("write its unit: {text}%"),
        }));
    }
    let form = || unit("write a percentage, such as 5% or 0.1%");
    let Some(amount) = text.strip_suffix('%') else {
        let amount = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
        return Err(match text[amount.len()..].trim() {
            "percent" | "pct" | "pc" if number(amount).is_some() => unit(format!("write {amount}%")),
            _ => form(),
        });
    };
    match number(amount) {
        Some(value) => Ok(value / 100.0),
        None if number(amount.trim()).is_some() => Err(unit(format!("write {}%", amount.trim()))),
        None => Err(form()),
    }
}

/// A weight: above 0% to 100%, with at most two decimals.
pub(crate) fn weight(text: &str) -> Result<Weight, Wrong> {
    let points = fraction(text)? * 10_000.0;
    let whole = points.round();
    if (points - whole).abs() > 1e-6 {
        return Err(range("a weight has at most two decimals"));
    }
    if !(1.0..=10_000.0).contains(&whole) {
        return Err(range("a weight is 0.01% to 100%"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be within 1 and 10000")]
    let points = whole as u16;
    Weight::new(points).map_err(|error| range(&error.to_string()))
}

/// `500m`, `2`, `0.5`: a share of processors, in thousandths of one.
pub(crate) fn cpu(text: &str) -> Result<u32, Wrong> {
    let (amount, factor) = text.strip_suffix('m').map_or((text, 1000.0), |amount| (amount, 1.0));
    let milli = number(amount).ok_or_else(|| unit("write processors, or thousandths of one: 2, 0.5 or 500m"))? * factor;
    if !(10.0..=1_024_000.0).contains(&milli) || milli.fract() > 1e-9 {
        return Err(range("10m to 1024 processors, in thousandths"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a small whole number")]
    Ok(milli as u32)
}

/// `256MiB`, `1GiB`: bytes.
pub(crate) fn memory(text: &str) -> Result<u64, Wrong> {
    let form = || unit("write it with its unit, such as 256MiB or 1GiB (KiB, MiB, GiB; KB, MB, GB)");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(form)?;
    let factor = match &text[digits..] {
        "KiB" => 1024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        _ => return Err(form()),
    };
    let bytes = number(&text[..digits]).ok_or_else(form)? * factor;
    // The engine refuses less.
    if !(6.0 * 1_048_576.0..=1e15).contains(&bytes) {
        return Err(range("at least 6MiB"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be within 6 MiB and 1 PB")]
    Ok(bytes as u64)
}

/// A number as people write it, without what binary fractions add.
pub(crate) fn decimals(value: f64) -> String {
    let text = format!("{value:.9}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Digits with at most one point between them: no sign, no exponent.
pub(crate) fn number(text: &str) -> Option<f64> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, decimals) = text.split_once('.').map_or((text, None), |(whole, decimals)| (whole, Some(decimals)));
    (digits(whole) && decimals.is_none_or(digits)).then(|| text.parse().ok())?
}
