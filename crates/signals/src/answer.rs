//! What a Prometheus server answers to a query for a range of raw samples.

use davy_core::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;

/// More series than this are no service's counter.
const MOST: usize = 1_000;
/// Counts above this lose their last digits in a float.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// One series: the samples that were scraped of one counter of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Series {
    /// All its labels: its name.
    pub labels: String,
    /// The labels that say what was scraped.
    pub target: String,
    /// When it was scraped, and what it stood at; by rising time, at least one.
    pub samples: Vec<(Timestamp, u64)>,
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: Option<String>,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    result: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
    #[serde(default)]
    histograms: Option<serde::de::IgnoredAny>,
}

/// Reads the body of an answer.
///
/// # Errors
/// In words, what of it cannot be true of a counter.
pub(crate) fn read(body: &[u8]) -> Result<Vec<Series>, String> {
    let answer: Answer =
        serde_json::from_slice(body).map_err(|error| match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'<') => "it answered with a page, not with samples".to_owned(),
            _ => format!("its answer cannot be read: {error}"),
        })?;
    let data = match (answer.status.as_str(), answer.data) {
        ("success", Some(data)) => data,
        (_, _) => return Err(format!("it says: {}", answer.error.as_deref().map_or("nothing", first_line))),
    };
    if data.kind != "matrix" {
        return Err(format!("it answered with a {}, not with samples", first_line(&data.kind)));
    }
    if data.result.len() > MOST {
        return Err(format!("there are {} series, more than {MOST}", data.result.len()));
    }
    data.result.into_iter().map(series).collect()
}

fn series(row: Row) -> Result<Series, String> {
    let labels = serde_json::to_string(&row.metric).unwrap_or_default();
    if row.histograms.is_some() {
        return Err(format!("{labels} is a histogram, not a counter"));
    }
    let label = |name: &str| row.metric.get(name).map_or("", String::as_str);
    let target = format!("{}\n{}", label("job"), label("instance"));
    let samples = row.values.iter().map(|(at, value)| Ok((time(*at)?, count(value)?)));
    let samples = samples.collect::<Result<Vec<_>, String>>().map_err(|why| format!("{labels} {why}"))?;
    if samples.is_empty() || samples.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        return Err(format!("{labels} has samples without an order"));
    }
    Ok(Series { labels, target, samples })
}

fn time(seconds: f64) -> Result<Timestamp, String> {
    let millis = (seconds * 1_000.0).round();
    if !(0.0..EXACT).contains(&millis) {
        return Err(format!("has a sample of time {seconds}"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be a whole number that fits"
    )]
    Ok(Timestamp(millis as u64))
}

/// A count: finite, not negative, whole.
fn count(text: &str) -> Result<u64, String> {
    let value: f64 = text.parse().map_err(|_| format!("stands at {:?}, which is no number", first_line(text)))?;
    if !(0.0..=EXACT).contains(&value) {
        return Err(format!("stands at {text}, which nothing can have counted"));
    }
    if value.fract() > 0.0 {
        return Err(format!("stands at {text}: it counts no requests"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be a whole number that fits"
    )]
    Ok(value as u64)
}

fn first_line(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    line.char_indices().nth(200).map_or(line, |(at, _)| &line[..at])
}

#[cfg(test)]
mod tests {
    use super::read;
    use davy_core::Timestamp;

    fn one(values: &str) -> Result<Vec<(Timestamp, u64)>, String> {
        let body = format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{"__name__":"a","instance":"i","job":"j"}},"values":{values}}}]}}}}"#
        );
        read(body.as_bytes()).map(|mut all| all.remove(0).samples)
    }

    #[test]
    fn counts_are_read_and_what_is_none_is_refused() {
        assert_eq!(one(r#"[[1.5,"3"],[2.5,"1e3"]]"#), Ok(vec![(Timestamp(1_500), 3), (Timestamp(2_500), 1_000)]));
        for bad in ["NaN", "-1", "+Inf", "-Inf", "1.5", "1e300", "three", ""] {
            assert!(one(&format!(r#"[[1,"{bad}"]]"#)).is_err(), "{bad}");
        }
        for bad in
            [r#"[[2,"1"],[1,"1"]]"#, r#"[[1,"1"],[1,"2"]]"#, "[]", r#"[[-1,"1"]]"#, r#"[[1,1]]"#, r#"[["1","1"]]"#, "3"]
        {
            assert!(one(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn answers_that_are_none_say_so() {
        let told = |body: &str| read(body.as_bytes()).unwrap_err();
        assert_eq!(told("<html>"), "it answered with a page, not with samples");
        assert!(told("").contains("cannot be read"));
        assert_eq!(told(r#"{"status":"error","error":"parse error\nmore"}"#), "it says: parse error");
        assert_eq!(
            told(r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#),
            "it answered with a vector, not with samples"
        );
        let histogram =
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"histograms":[[1,{}]]}]}}"#;
        assert!(told(histogram).contains("is a histogram"));
        let many = format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{}]}}}}"#,
            vec![r#"{"metric":{},"values":[[1,"1"]]}"#; 1001].join(",")
        );
        assert!(told(&many).contains("1001 series"));
    }
}
