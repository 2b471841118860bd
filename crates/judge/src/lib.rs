//! The judge: decides from counts whether a canary is worse than the stable version.
//!
//! It is a function of a [`Policy`] and the sequence of [`Window`]s and blind marks given to it, and of nothing else:
//! no clock, no I/O, no randomness. The same sequence gives the same verdicts bit for bit, so a verdict can be
//! recomputed from stored windows.
//!
//! What it promises, whatever the traffic does and however often one looks:
//!
//! - a canary that is no worse than its limits in every block is found [`Kind::Harmful`] with probability at most
//!   0.7 α, for the whole rollout: 0.6 α by the evidence of all metrics together, 0.1 α by a harm budget (the rest is kept for
//!   the guards in the gateways);
//! - a canary that is worse than stable by at least a step's margin in every block is found [`Kind::Safe`] at that step
//!   with probability at most β.
//!
//! Both rest on e-processes: running products whose expectation never exceeds 1 under the null, and which therefore
//! ever reach `1/α` with probability at most `α` (Ville's inequality). Missing data multiplies by 1: it is never healthy.
//!
//! ```
//! use davy_judge::{Counts, Judge, Kind, Policy, Window};
//!
//! let mut judge = Judge::new(Policy::default())?;
//! for second in 0..30 {
//!     judge.observe(&Window {
//!         epoch: 1,
//!         weight: 1_000,
//!         from_ms: second * 1_000,
//!         to_ms: (second + 1) * 1_000,
//!         canary: Counts::answered(100, 0),
//!         stable: Counts::answered(900, 1),
//!     });
//! }
//! assert_eq!(judge.verdict().kind, Kind::Safe);
//! # Ok::<(), davy_judge::InvalidPolicy>(())
//! ```

/// The README's code runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod absolute;
mod admission;
mod blocks;
pub mod bounds;
mod counts;
mod details;
mod evidence;
mod forecast;
mod gathered;
pub mod guard;
mod harm;
mod honesty;
mod in_flight;
mod judge;
pub mod latency;
mod metrics;
mod mixture;
mod plain;
mod policy;
pub mod promotion;
pub mod ramp;
pub mod relative;
pub mod replay;
mod rollback;
mod sum;
mod verdict;
mod wording;

pub use blocks::{BLOCK_MS, BLOCK_REQUESTS, Block};
pub use bounds::{Bounds, Difference};
pub use counts::{ABSURD, Counts, Nonsense, Pair, WHOLE, Window};
pub use details::{Cohort, Details, Instance, Latencies};
pub use evidence::{Evidence, Harm, Limit, Measure, Metric, Origin, Promotion, Speed, Standing, Thresholds};
pub use forecast::{Forecast, forecast_requests};
pub use honesty::{Calibration, SampleRatio};
pub use judge::{Judge, NO_TRAFFIC_MS};
pub use policy::{AMBER, Budget, InvalidPolicy, Policy};
pub use promotion::margin;
pub use ramp::Ramp;
pub use verdict::{Blindness, Kind, Verdict};
