//! Every error code of the file, with what it means.

use serde::Serialize;

/// A stable code, such as `E014`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Code(pub(crate) &'static str);

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// What a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The code.
    pub code: &'static str,
    /// In a few words.
    pub title: &'static str,
    /// In a few sentences, with an example.
    pub text: &'static str,
}

macro_rules! codes {
    ($($name:ident $code:literal $title:literal $text:literal)*) => {
        $(pub(crate) const $name: Code = Code($code);)*
        const ALL: &[Explanation] = &[$(Explanation { code: $code, title: $title, text: $text }),*];
    };
}

codes! {
    TOO_LARGE "E001" "the file is too large"
        "A davy.yaml is at most 1 MiB: it is written by people. Generated data belongs in files of its own."
    NOT_TEXT "E002" "the file is not UTF-8 text"
        "The file holds bytes that are no UTF-8, or a NUL. Save it as UTF-8."
    SYNTAX "E003" "the file is not YAML"
        "The file cannot be read as YAML 1.2. Look at indentation, quotes and brackets at the line shown.\n\n  wrong:  steps: [1%, 5%\n  right:  steps: [1%, 5%]"
    TAB "E004" "a tab is used for indentation"
        "YAML is indented with spaces only. Replace each tab by two spaces."
    TOO_DEEP "E005" "the file is nested too deeply"
        "Nothing in a davy.yaml is nested more than a few levels; 64 are read."
    TOO_MANY "E006" "the file has too many nodes once its aliases are followed"
        "Anchors and aliases may be used, but what they stand for is counted: 20,000 values are read."
    DUPLICATE "E007" "a key is given twice"
        "The same key stands twice in one mapping, so one of the two values would be lost. Remove one.\n\n  wrong:  service: a\n          service: b"
    DOCUMENTS "E008" "the file has several documents"
        "One file describes one service: there may be no second `---`."
    EMPTY "E009" "the file is empty"
        "At least `service` and `command` are needed. `davy init` writes a file to start from."
    TYPE "E010" "a value of another kind is needed"
        "Such as a text where a list stands.\n\n  wrong:  steps: 5%\n  right:  steps: [5%, 100%]"
    UNKNOWN "E011" "there is no such key"
        "The key is not known at this place. The hint names the nearest one and all that are."
    NOT_ENFORCED "E012" "the key is known, but this version does not enforce it"
        "A limit that is read and not enforced would be false safety, so the file is refused. Remove the key, or use a version that enforces it."
    MISSING "E013" "a key is missing"
        "`service` and `command` are always needed."
    UNIT "E014" "a value lacks its unit, or has the wrong one"
        "Every duration and percentage is written with its unit, so that nobody has to guess.\n\n  wrong:  hold: 60\n  right:  hold: 60s      (ms, s, m, h, d; also 1m30s)\n\n  wrong:  steps: [1, 100]\n  right:  steps: [1%, 100%]"
    RANGE "E015" "a value is out of its range"
        "The value makes no sense here: the message says which values do."
    STEPS "E016" "the weights do not rise to 100%"
        "A canary's steps rise, begin below 100% and end with 100%, the promotion.\n\n  wrong:  steps: [5%, 1%]\n  right:  steps: [1%, 5%, 100%]"
    PORT "E017" "the command is not told its port"
        "On `local` every instance gets a free port of its own, because old and new run side by side. Give it to the command as $PORT, or in a value of `env`.\n\n  wrong:  command: ./logo --port 8080\n  right:  command: ./logo --port $PORT"
    VARIABLE "E018" "an unknown variable"
        "A command is not run by a shell: only $PORT and the keys of `env` are replaced. Add the name to `env`."
    NAME "E019" "not a name"
        "Names of services and environments are DNS labels: 1 to 63 of a-z, 0-9 and -, beginning with a letter."
    WORDS "E020" "the command cannot be split into words"
        "Words are split at spaces; quotes keep them together and must be closed. There is no shell: no pipes, no redirections."
    ROUTE "E021" "not a host or path"
        "`host` is a host name without scheme and port; paths begin with `/`."
    ENVIRONMENT "E022" "no such environment, or none named"
        "The file has other environments than the one asked for, or several and none was named with --env."
    SERVICE "E023" "no such service"
        "The service asked for is not the file's."
}

/// What a code means; none for an unknown one.
#[must_use]
pub fn explain(code: &str) -> Option<&'static Explanation> {
    ALL.iter().find(|known| known.code.eq_ignore_ascii_case(code))
}

/// Every code.
#[must_use]
pub fn explanations() -> &'static [Explanation] {
    ALL
}
