//! What the set-up of a service asks and is answered.

use crate::wire::{Change, Deploy};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What runs at the places and could become a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sites {
    /// `sites`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Place by place, and engine by engine.
    pub sites: Vec<Site>,
}

/// One place, or one of its engines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Site {
    /// `docker` or `local`.
    pub platform: String,
    /// What it is called.
    pub called: String,
    /// What runs there, Davy's own left out.
    pub found: Vec<Found>,
    /// Why nothing, or not all, can be told; may be empty.
    pub trouble: String,
    /// What to do about that; may be empty.
    pub hint: String,
}

/// Something that runs. Its variables are not told here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Found {
    /// How it is asked for.
    pub id: String,
    /// `container`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// The TCP ports that it exposes.
    pub ports: Vec<u16>,
    /// Its Compose project, if it has one.
    pub project: Option<String>,
    /// The environments in which a service of its name is deployed already.
    pub deployed: Vec<String>,
}

/// What a form is to begin with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "from", deny_unknown_fields)]
#[schema(as = DraftFrom)]
pub enum Start {
    /// Something that runs.
    Found {
        /// Which.
        id: String,
    },
    /// The text of a Compose file.
    Compose {
        /// The text.
        text: String,
        /// Which of its services; the likeliest when absent.
        service: Option<String>,
        /// The file's folder on the server: relative paths are taken from there.
        folder: Option<String>,
    },
    /// The text of a Dockerfile.
    Dockerfile {
        /// The text.
        text: String,
        /// What the service is to be called.
        service: String,
    },
    /// Nothing.
    Blank {
        /// `docker` or `local`.
        platform: String,
    },
}

/// A form to go on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ServiceDraft)]
pub struct Draft {
    /// `draft`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its fields, in the order of the file; none while one of the choices has to be made.
    pub fields: Vec<Field>,
    /// What could not be taken over, and what else to know.
    pub notes: Vec<String>,
    /// The services of a Compose file.
    pub choices: Vec<Choice>,
}

/// One field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Field {
    /// Its name: the path in `davy.yaml`, but for what several strategies have.
    pub key: String,
    /// What stands in it; empty where the default holds.
    pub value: String,
    /// What holds where nothing stands in it; may be empty.
    pub default: String,
    /// Who says so, in words.
    pub origin: String,
    /// Whether whoever says so knows; else it is a guess to look at.
    pub sure: bool,
}

/// One service of a Compose file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Choice {
    /// As the file names it.
    pub name: String,
    /// What it is.
    pub what: String,
    /// Whether it is likely to be meant.
    pub likely: bool,
}

/// A form as it is filled in.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ServiceForm)]
pub struct Form {
    /// By the names of the fields.
    pub values: BTreeMap<String, String>,
    /// What runs already, if it began with that: it is asked for its health.
    #[serde(default)]
    pub found: Option<String>,
    /// Where something can be asked for its health: `127.0.0.1:8080`, of the server's own machine only.
    #[serde(default)]
    pub address: Option<String>,
    /// Requests a second to assume; those that are measured when absent.
    #[serde(default)]
    pub rate: Option<f64>,
}

/// What a form makes. Nothing is changed by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ServiceReview)]
pub struct Review {
    /// `review`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text of `davy.yaml`.
    pub file: String,
    /// What is wrong, field by field.
    pub errors: Vec<Wrong>,
    /// What is allowed and should be known.
    pub notes: Vec<String>,
    /// Whether a release of that service serves there.
    pub serves: bool,
    /// In what it differs from that, or all of it.
    pub changes: Vec<Change>,
    /// What does the same at the command line, once the file is saved.
    pub command: String,
    /// What `POST /api/deploy` is to be given; none while something is wrong.
    pub deploy: Option<Deploy>,
}

/// An error of a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = FieldError)]
pub struct Wrong {
    /// Which field; empty when of none.
    pub key: String,
    /// The file's own code: `davy config explain` says more.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// The line of the file, from 1.
    pub line: usize,
}

/// What was looked at before anything is deployed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SetUpChecks)]
pub struct Checked {
    /// `checked`.
    #[serde(rename = "type")]
    pub kind: String,
    /// One after the other.
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SetUpCheck)]
pub struct Check {
    /// `engine`, `image`, `port`, `command`, `health`, `secrets`, `route`, `traffic`.
    pub check: String,
    /// Whether it is well; null where nobody can say, or where somebody should look.
    pub ok: Option<bool>,
    /// What was found.
    pub detail: String,
    /// What to do; may be empty.
    pub hint: String,
}

/// What the limits catch at the service's traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = TrafficForecast)]
pub struct Forecast {
    /// `forecast`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Requests a second.
    pub rate: f64,
    /// Whether that was measured; else it was assumed.
    pub measured: bool,
    /// In plain words.
    pub sentences: Vec<String>,
    /// Versions that fail so often, the worst first; the last one is as good as stable.
    pub versions: Vec<Fate>,
}

/// What becomes of a version, in simulated rollouts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Fate {
    /// The share of its requests that it fails, as a fraction.
    pub fails: f64,
    /// How many rollouts were simulated.
    pub rollouts: u64,
    /// Of these, rolled back.
    pub rolled_back: u64,
    /// Of these, promoted.
    pub promoted: u64,
    /// Of these, left to a person.
    pub undecided: u64,
    /// Its failed requests until the end: the median, and what nine of ten stay below.
    pub failed: (u64, u64),
    /// Seconds until the end: the median, and what nineteen of twenty stay below.
    pub seconds: (f64, f64),
}
