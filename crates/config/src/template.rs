//! A file to start from.

/// A `davy.yaml` for a service, its choices said in comments.
#[must_use]
pub fn template(service: &str, command: &str) -> String {
    let quoted = command.replace('\'', "''");
    format!(
        "service: {service}
command: '{quoted}'        # split into words, no shell; each instance gets a port of its own as $PORT

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
