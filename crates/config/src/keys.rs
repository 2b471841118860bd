//! Which keys stand where. A test holds them against the schema.

/// The keys of one mapping.
pub(crate) struct Keys {
    /// Where it stands, from the top.
    pub path: &'static str,
    /// The keys that are read and enforced.
    pub known: &'static [&'static str],
    /// The keys that are known to belong here, and are not enforced by this version.
    pub later: &'static [&'static str],
}

pub(crate) static FILE: Keys = Keys {
    path: "",
    known: &[
        "service",
        "image",
        "command",
        "files",
        "port",
        "replicas",
        "user",
        "volumes",
        "stop-signal",
        "resources",
        "health",
        "route",
        "env",
        "secrets",
        "environments",
        "rollout",
        "notify",
    ],
    later: &["pipeline", "slo"],
};
pub(crate) static RESOURCES: Keys = Keys { path: "resources", known: &["cpu", "memory"], later: &[] };
pub(crate) static HEALTH: Keys = Keys { path: "health", known: &["path", "grace", "interval"], later: &[] };
pub(crate) static ROUTE: Keys = Keys { path: "route", known: &["host", "path"], later: &[] };
pub(crate) static SECRET: Keys = Keys { path: "secrets", known: &["name", "file"], later: &[] };
pub(crate) static ENVIRONMENT: Keys = Keys {
    path: "environments.NAME",
    known: &["platform", "engine", "metrics"],
    later: &["cluster", "router", "approve", "namespace", "region"],
};
pub(crate) static SOURCE: Keys =
    Keys { path: "environments.NAME.metrics", known: &["prometheus", "token", "interval"], later: &[] };
pub(crate) static ROLLOUT: Keys = Keys {
    path: "rollout",
    known: &[
        "canary",
        "blue-green",
        "rolling",
        "recreate",
        "analysis",
        "drain",
        "bake",
        "on-failure",
        "on-deadline",
        "pause-limit",
    ],
    later: &[],
};
pub(crate) static CANARY: Keys =
    Keys { path: "rollout.canary", known: &["steps", "scale", "sticky", "hold", "deadline", "holdback"], later: &[] };
pub(crate) static STEP: Keys =
    Keys { path: "rollout.canary.steps", known: &["weight", "scale", "match", "mirror"], later: &["margin"] };
pub(crate) static MATCH: Keys =
    Keys { path: "rollout.canary.steps.match", known: &["header", "cookie", "host"], later: &[] };
pub(crate) static MIRROR: Keys = Keys { path: "rollout.canary.steps.mirror", known: &["share", "unsafe"], later: &[] };
pub(crate) static BLUE_GREEN: Keys =
    Keys { path: "rollout.blue-green", known: &["preview", "host", "hold", "deadline"], later: &[] };
pub(crate) static ROLLING: Keys =
    Keys { path: "rollout.rolling", known: &["min-healthy", "max", "hold", "deadline"], later: &[] };
pub(crate) static RECREATE: Keys = Keys { path: "rollout.recreate", known: &["hold", "deadline"], later: &[] };
pub(crate) static ANALYSIS: Keys = Keys {
    path: "rollout.analysis",
    known: &["alpha", "beta", "margin", "slo", "harm-budget", "error-rate", "latency", "metrics", "burst"],
    later: &[],
};
pub(crate) static HARD: Keys = Keys { path: "rollout.analysis.harm-budget", known: &["hard"], later: &[] };
pub(crate) static LATENCY: Keys = Keys {
    path: "rollout.analysis.latency",
    known: &["p50", "p90", "p95", "p99", "p99.9", "not-slower-than"],
    later: &[],
};
pub(crate) static METRIC: Keys =
    Keys { path: "rollout.analysis.metrics", known: &["name", "prometheus", "of"], later: &[] };
pub(crate) static ERROR_RATE: Keys =
    Keys { path: "rollout.analysis.error-rate", known: &["max", "not-worse-than-stable"], later: &["margin"] };

pub(crate) static NOTIFY: Keys = Keys { path: "notify", known: &["slack", "webhook", "secret", "on"], later: &[] };

/// Every mapping with keys of its own.
pub(crate) static ALL: [&Keys; 21] = [
    &FILE,
    &RESOURCES,
    &HEALTH,
    &ROUTE,
    &SECRET,
    &ENVIRONMENT,
    &SOURCE,
    &ROLLOUT,
    &CANARY,
    &STEP,
    &MATCH,
    &MIRROR,
    &BLUE_GREEN,
    &ROLLING,
    &RECREATE,
    &ANALYSIS,
    &HARD,
    &ERROR_RATE,
    &LATENCY,
    &METRIC,
    &NOTIFY,
];

/// Keys of a file with an `image`: nothing enforces them on a process.
pub(crate) const CONTAINERS: [&str; 4] = ["user", "volumes", "stop-signal", "resources"];

/// Later platforms.
pub(crate) const LATER_PLATFORMS: &[&str] = &["swarm", "ecs", "kubernetes"];

impl Keys {
    /// The place in words.
    pub(crate) fn place(&self) -> String {
        match self.path {
            "" => "the file".to_owned(),
            path => format!("`{path}`"),
        }
    }

    /// What to do about a key that is not known here.
    pub(crate) fn hint(&self, name: &str) -> String {
        let all = format!("there are {}", self.known.join(", "));
        if name == "<<" {
            return "merge keys are no part of YAML 1.2: write the values out".to_owned();
        }
        // Longer texts are no key's misspelling, and the distance takes the product of the lengths.
        const LONGEST: usize = 40;
        let near = self.known.iter().filter(|_| name.len() <= LONGEST);
        let folded = name.to_ascii_lowercase().replace('_', "-");
        let near = near.map(|key| (strsim::osa_distance(&folded, key), *key)).min();
        let elsewhere = ALL.iter().find(|keys| keys.known.contains(&name) || keys.known.contains(&folded.as_str()));
        match (near.filter(|(distance, key)| *distance <= 1.max(key.len() / 3)), elsewhere) {
            (Some((0, key)), _) => format!("write `{key}`"),
            (_, Some(keys)) => format!("`{folded}` belongs in {}; here {all}", keys.place()),
            (Some((_, key)), None) => format!("did you mean `{key}`? Here {all}"),
            (None, None) => format!("here {all}"),
        }
    }
}
