//! Selectors of counters: a name and matchers of labels, with placeholders for the release, the service and the environment.
//! Nothing else is taken: a rate, a sum or a quotient can no longer be told apart into what was counted when.

/// What stands for the release, the service and the environment.
const PLACEHOLDERS: [&str; 3] = ["release", "service", "environment"];
const HINT: &str =
    "write one counter, such as 'failures_total{release=\"$release\"}'; Davy takes its differences itself";

type Wrong = (String, String);

fn wrong<T>(why: impl Into<String>, hint: impl Into<String>) -> Result<T, Wrong> {
    Err((why.into(), hint.into()))
}

/// Refuses what is no selector of one counter of one release.
pub(crate) fn check(text: &str) -> Result<(), Wrong> {
    const LONGEST: usize = 1_000;
    if text.len() > LONGEST {
        return wrong(format!("it is longer than {LONGEST} characters"), HINT);
    }
    let name = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    let (name, rest) = text.split_at(name);
    if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
        return wrong("it does not begin with the name of a counter", HINT);
    }
    if ["rate", "irate", "increase", "delta", "sum"].contains(&name) {
        return wrong(format!("`{name}` hides what was counted when, and when a counter began anew"), HINT);
    }
    let mut rest = match rest.trim_start().strip_prefix('{') {
        Some(rest) => rest,
        None if rest.is_empty() => return wrong("it is the same for every release", HINT),
        None => return wrong("it is no name of a counter with matchers", HINT),
    };
    let mut release = false;
    while let Some(after) = matcher(rest.trim_start(), &mut release)? {
        rest = after.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    match rest.trim_start().strip_prefix('}') {
        Some("") if release => Ok(()),
        Some("") => {
            let hint = "add a label that tells the releases apart, such as release=\"$release\": an instance finds its own in \
                        DAVY_RELEASE";
            wrong("`$release` is not in it: the two versions' counts could not be told apart", hint)
        }
        _ => wrong("something follows or is missing after its matchers", HINT),
    }
}

/// What follows a matcher; none if there is none.
fn matcher<'a>(text: &'a str, release: &mut bool) -> Result<Option<&'a str>, Wrong> {
    let label = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    if label == 0 {
        return Ok(None);
    }
    let rest = text[label..].trim_start();
    let operator = ["=~", "!~", "!=", "="].into_iter().find(|operator| rest.starts_with(operator));
    let Some(operator) = operator else { return wrong(format!("`{}` has no value", &text[..label]), HINT) };
    let rest = rest[operator.len()..].trim_start();
    let Some(quoted) = rest.strip_prefix('"') else {
        return wrong("a value of a label stands in double quotes", HINT);
    };
    let mut escaped = false;
    let end = quoted.find(|c: char| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    let Some(end) = end else { return wrong("a quote is not closed", HINT) };
    let value = &quoted[..end];
    for (at, _) in value.match_indices('$') {
        let name: String = value[at + 1..].chars().take_while(char::is_ascii_alphanumeric).collect();
        // A `$` alone is the end of a regular expression.
        if !name.is_empty() && !PLACEHOLDERS.contains(&name.as_str()) {
            let hint = "there are $release, $service and $environment";
            return wrong(format!("there is no placeholder `${name}`"), hint);
        }
        *release |= name == "release" && !operator.starts_with('!');
    }
    Ok(Some(&quoted[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn counters_told_apart_by_release() {
        for good in [
            "a_total{release=\"$release\"}",
            "job:a:b { release = \"$release\" , code=~\"5..$\", }",
            "a{x=\"\\\"}\", release=~\"shop-$release\"}",
            "a{pod=~\"$service-$release-.*\",namespace=\"$environment\"}",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "a",
            "a{}",
            "a{release=\"v2\"}",
            "a{release!=\"$release\"}",
            "a{release=\"$release\"}[5m]",
            "a{release=\"$release\"} offset 5m",
            "a{release=\"$release\"} or vector(0)",
            "rate(a{release=\"$release\"}[1m])",
            "sum(a{release=\"$release\"})",
            "a{release=\"$version\"}",
            "a{release=$release}",
            "a{release=\"$release}",
            "a{release}",
            "a{,release=\"$release\"",
            "1a{release=\"$release\"}",
            "a{release=\"$release\"}\n",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
