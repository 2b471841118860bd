//! A command's words: split like a shell's, without a shell.

/// Splits at spaces; single and double quotes keep words together, a backslash keeps the next character.
pub(crate) fn split(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => loop {
                match characters.next() {
                    Some('\'') => {
                        word.get_or_insert_default();
                        break;
                    }
                    Some(inner) => word.get_or_insert_default().push(inner),
                    None => return Err("a single quote is not closed"),
                }
            },
            '"' => loop {
                match characters.next() {
                    Some('"') => {
                        word.get_or_insert_default();
                        break;
                    }
                    Some('\\') => match characters.next() {
                        Some(inner @ ('"' | '\\' | '$')) => word.get_or_insert_default().push(inner),
                        Some(inner) => word.get_or_insert_default().extend(['\\', inner]),
                        None => return Err("a double quote is not closed"),
                    },
                    Some(inner) => word.get_or_insert_default().push(inner),
                    None => return Err("a double quote is not closed"),
                }
            },
            '\\' => match characters.next() {
                Some(inner) => word.get_or_insert_default().push(inner),
                None => return Err("nothing follows the backslash"),
            },
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

/// The names of the variables that a word refers to.
pub(crate) fn variables(word: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
            continue;
        }
        let braced = rest.strip_prefix('{').and_then(|inner| inner.split_once('}')).map(|(name, _)| name);
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let name = braced.unwrap_or(&rest[..end]);
        if !name.is_empty() {
            names.push(name.to_owned());
        }
    }
    names
}
