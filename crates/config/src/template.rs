//! A file to start from.

use crate::words;

/// A `davy.yaml` for a service, its choices said in comments. It has no errors if the service is a name and the command
/// can be split into words and names no variable but `$PORT`; one that does not name it is said to read PORT by itself.
#[must_use]
pub fn template(service: &str, command: &str) -> String {
    let told = words::variables(command).iter().any(|variable| variable.name == "PORT");
    let env = match told {
        true => "# env: { COLOR: blue }",
        false => "env: { PORT: $PORT }   # it reads its port from there; else write $PORT into the command",
    };
    let command = quoted(command);
    format!(
        "service: {service}
command: {command}        # split into words, no shell; each instance gets a port of its own as $PORT

# health: {{ path: /healthz, grace: 60s, interval: 2s }}   # without a path, an open port is healthy
# replicas: 2
{env}

rollout:
  canary:
    steps: [1%, 5%, 25%, 50%, 100%]     # each needs proof that it is no worse than the stable version
    hold: 60s                           # the least time at each weight
    deadline: 30m                       # the most; then a person is asked
  bake: 15m                             # the old version is kept so long for an instant way back
"
    )
}

/// A YAML scalar in single quotes, or in double quotes if it holds what those cannot.
pub(crate) fn quoted(text: &str) -> String {
    if !text.chars().any(|c| c.is_control() || c == '\u{FEFF}') {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let escaped = text.chars().map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() || c == '\u{FEFF}' => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}
