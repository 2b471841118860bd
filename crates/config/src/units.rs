//! Durations and percentages, always with their units.

use davy_core::{Millis, Weight};

/// No duration is longer than a year.
const LONGEST: u64 = 365 * 24 * 3600 * 1000;

/// `250ms`, `1.5s`, `60s`, `1m30s`, `24h`, `7d`.
pub(crate) fn duration(text: &str) -> Result<Millis, String> {
    let text = text.trim();
    let form = || "write it with its unit, such as 250ms, 60s, 1m30s, 15m or 24h".to_owned();
    if text.is_empty() {
        return Err(form());
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("write its unit: {text}s, or {text}m"));
    }
    let mut total = 0.0_f64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(form)?;
        let number: f64 = rest[..digits].parse().map_err(|_| form())?;
        let after = rest[digits..].trim_start();
        let unit = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let millis = match &after[..unit] {
            "ms" => 1.0,
            "s" => 1000.0,
            "m" => 60_000.0,
            "h" => 3_600_000.0,
            "d" => 86_400_000.0,
            "sec" | "secs" | "second" | "seconds" => return Err(format!("write {number}s")),
            "min" | "mins" | "minute" | "minutes" => return Err(format!("write {number}m")),
            "hour" | "hours" => return Err(format!("write {number}h")),
            _ => return Err(form()),
        };
        total += number * millis;
        rest = after[unit..].trim_start();
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be within a year")]
    let millis = if total <= LONGEST as f64 { total.round() as u64 } else { return Err("at most 365d".to_owned()) };
    Ok(Millis(millis))
}

/// `5%`, `0.1%`: a fraction of 1.
pub(crate) fn fraction(text: &str) -> Result<f64, String> {
    let text = text.trim();
    let Some(number) = text.strip_suffix('%') else {
        return Err(match text.parse::<f64>() {
            Ok(_) => format!("write its unit: {text}%"),
            Err(_) => "write a percentage, such as 5% or 0.1%".to_owned(),
        });
    };
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && !number.is_empty();
    let number: f64 = number.parse().ok().filter(|_| plain).ok_or("write a percentage, such as 5% or 0.1%")?;
    Ok(number / 100.0)
}

/// A weight with at most two decimals.
pub(crate) fn weight(text: &str) -> Result<Weight, String> {
    let points = fraction(text)? * 10_000.0;
    let whole = points.round();
    if (points - whole).abs() > 1e-6 {
        return Err("a weight has at most two decimals".to_owned());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be within 0 and 10000")]
    let points = if (1.0..=10_000.0).contains(&whole) {
        whole as u16
    } else {
        return Err("a weight is 0.01% to 100%".to_owned());
    };
    Weight::new(points).map_err(|error| error.to_string())
}
