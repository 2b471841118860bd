//! A file to start from.

/// A `davy.yaml` for a service, its choices said in comments. It has no errors if the service is a name and the command
/// is told its port.
#[must_use]
pub fn template(service: &str, command: &str) -> String {
    let command = quoted(command);
    format!(
        "service: {service}
command: {command}        # split into words, no shell; each instance gets a port of its own as $PORT

# health: {{ path: /healthz, grace: 60s, interval: 2s }}   # without a path, an open port is healthy
# replicas: 2
# env: {{ COLOR: blue }}

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
fn quoted(text: &str) -> String {
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
