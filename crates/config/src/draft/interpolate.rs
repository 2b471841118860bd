//! `$NAME`, `${NAME}`, `${NAME:-default}` and `${NAME:+other}`, as Dockerfiles and Compose files have them.

/// A text with its variables replaced.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filled {
    pub text: String,
    /// The variables that stand there by a default of the file.
    pub defaults: Vec<String>,
}

/// Replaces every variable; `known` says what one is, and `escape` precedes a `$` that is none.
///
/// # Errors
/// The first variable that nobody gives a value, as it is written.
pub(super) fn fill(text: &str, escape: char, known: &dyn Fn(&str) -> Option<String>) -> Result<Filled, String> {
    // A default may hold variables, whose defaults may; nobody writes more.
    const DEEP: usize = 8;
    let mut filled = Filled::default();
    inner(text, escape, known, DEEP, &mut filled)?;
    Ok(filled)
}

fn inner(
    text: &str,
    escape: char,
    known: &dyn Fn(&str) -> Option<String>,
    deep: usize,
    filled: &mut Filled,
) -> Result<(), String> {
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        if escape == '$' && after.starts_with('$') {
            filled.text.push_str(before);
            filled.text.push('$');
            rest = &after[1..];
            continue;
        }
        if escape != '$' && before.ends_with(escape) {
            filled.text.push_str(&before[..before.len() - escape.len_utf8()]);
            filled.text.push('$');
            rest = after;
            continue;
        }
        filled.text.push_str(before);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if let Some(braced) = after.strip_prefix('{') {
            let length = closing(braced).ok_or_else(|| format!("${after}"))?;
            let (whole, next) = (&braced[..length], &braced[length + 1..]);
            let end = whole.find(|c| !is_name(c)).unwrap_or(whole.len());
            let (name, operator) = whole.split_at(end);
            let unknown = || format!("${{{whole}}}");
            let value = known(name).filter(|value| !value.is_empty() || !operator.starts_with(':'));
            let operator = operator.strip_prefix(':').unwrap_or(operator);
            match (value, operator.chars().next()) {
                (_, None) if name.is_empty() => return Err(unknown()),
                (Some(_), Some('+')) if deep > 0 => inner(&operator[1..], escape, known, deep - 1, filled)?,
                (None, Some('+')) => {}
                (Some(value), None | Some('-' | '?')) => filled.text.push_str(&value),
                (None, Some('-')) if deep > 0 => {
                    filled.defaults.push(unknown());
                    inner(&operator[1..], escape, known, deep - 1, filled)?;
                }
                _ => return Err(unknown()),
            }
            rest = next;
            continue;
        }
        let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
        let name = &after[..end];
        match name.starts_with(|c: char| !c.is_ascii_digit()) {
            // A `$` alone is itself.
            false => filled.text.push('$'),
            true => {
                filled.text.push_str(&known(name).ok_or_else(|| format!("${name}"))?);
                rest = &after[end..];
                continue;
            }
        }
        rest = after;
    }
    filled.text.push_str(rest);
    Ok(())
}

/// Where the brace closes that was opened before `text`.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' if open == 0 => return Some(at),
            b'}' => open -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn variables_are_replaced_as_compose_does() {
        let known = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let cases = [
            ("x$A-${A}", Ok("x1-1")),
            ("${A:-2}${B:-2}${B-}", Ok("12")),
            ("${EMPTY:-2}|${EMPTY-2}", Ok("2|")),
            ("${B:-${C:-deep}}", Ok("deep")),
            ("${A:+yes}${B:+no}", Ok("yes")),
            ("$$A costs 5$", Ok("$A costs 5$")),
            ("${B}", Err("${B}")),
            ("$B", Err("$B")),
            ("${B:?needed}", Err("${B:?needed}")),
            ("${A", Err("${A")),
            ("${}", Err("${}")),
        ];
        for (text, expected) in cases {
            let filled = fill(text, '$', &known).map(|filled| filled.text);
            assert_eq!(filled, expected.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
        assert_eq!(fill(r"\$A $A", '\\', &known).map(|filled| filled.text), Ok("$A 1".to_owned()));
    }
}
