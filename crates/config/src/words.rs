//! A command's words: split like a shell's, without a shell.

/// What only a shell can do. As an argument it stands in quotes.
const OPERATORS: [&str; 11] = ["|", "||", "&", "&&", ";", "<", ">", ">>", "2>", "2>&1", "&>"];

/// A word so far, and whether a part of it was quoted.
#[derive(Default)]
struct Word {
    text: String,
    quoted: bool,
}

/// Splits at spaces; single and double quotes keep words together, a backslash keeps the next character.
pub(crate) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\n' | '\r' => words.extend(finish(word.take())?),
            '\'' => {
                let word = word.get_or_insert_default();
                word.quoted = true;
                loop {
                    match characters.next() {
                        Some('\'') => break,
                        Some(inner) => word.text.push(inner),
                        None => return Err("a single quote is not closed".to_owned()),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                word.quoted = true;
                loop {
                    match characters.next() {
                        Some('"') => break,
                        Some('\\') => match characters.next() {
                            Some(inner @ ('"' | '\\')) => word.text.push(inner),
                            Some(inner) => word.text.extend(['\\', inner]),
                            None => return Err("a double quote is not closed".to_owned()),
                        },
                        Some(inner) => word.text.push(inner),
                        None => return Err("a double quote is not closed".to_owned()),
                    }
                }
            }
            '\\' => {
                let word = word.get_or_insert_default();
                word.quoted = true;
                word.text.push(characters.next().ok_or("nothing follows the backslash at its end")?);
            }
            other => word.get_or_insert_default().text.push(other),
        }
    }
    words.extend(finish(word)?);
    Ok(words)
}

fn finish(word: Option<Word>) -> Result<Option<String>, String> {
    match word {
        Some(word) if !word.quoted && OPERATORS.contains(&word.text.as_str()) => {
            Err(format!("`{}` is a shell's, and there is none", word.text))
        }
        other => Ok(other.map(|word| word.text)),
    }
}

/// What a text refers to.
pub(crate) struct Variable {
    pub name: String,
    /// As it stands there.
    pub written: String,
}

/// What a text refers to as `$NAME` or `${NAME}`. A `$` before anything else is itself.
pub(crate) fn variables(text: &str) -> Vec<Variable> {
    let mut variables = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        let braced = rest.strip_prefix('{').and_then(|inner| inner.split_once('}')).map(|(name, _)| name);
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (name, written) = match braced {
            Some(name) => (name, format!("${{{name}}}")),
            None => (&rest[..end], format!("${}", &rest[..end])),
        };
        if !name.is_empty() {
            variables.push(Variable { name: name.to_owned(), written });
        }
    }
    variables
}
