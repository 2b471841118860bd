//! The vocabulary of Davy and its pure state machines.
//!
//! Nothing here reads a clock, does I/O or draws a random number: time is an input, the world is an input, and what
//! should happen is an [`rollout::Event`] that somebody else carries out.

mod analysis;
mod earlier;
mod found;
mod id;
mod notify;
mod policy;
mod release;
pub mod rollout;
mod secret;
mod snapshot;
mod strategy;
mod time;
mod weight;
mod window;

pub use analysis::{Analysis, Budget, LatencyLimit, METRICS, Metric, MetricSource};
pub use found::{Check, Finding, Found, Reach, Said, Site, Speaker};
pub use id::{
    Actor, Digest, EnvironmentName, Generation, InstanceId, InvalidName, ReleaseId, RolloutId, ServiceKey, ServiceName,
};
pub use notify::{Address, Channel, Occasion, Receiver};
pub use policy::{OnDeadline, Policy};
pub use release::{Container, Health, HealthCheck, Instance, Place, Process, Release, Route, Run, Source, Workload};
pub use secret::{Given, InvalidSecretName, Pin, Scope, Secret, SecretName};
pub use snapshot::{Backend, Cut, FallbackCause, InFlight, InvalidSnapshot, Mode, Role, Serving, Snapshot, Target};
pub use strategy::{BlueGreen, Canary, CanaryStep, Match, Mirror, Rolling, Scale, Strategy};
pub use time::{Millis, Steady, Timestamp};
pub use weight::{InvalidWeight, Weight};
pub use window::{ABSURD, BUCKETS, Cell, Cohort, Failures, Window, bucket_of, bucket_upper_micros};
