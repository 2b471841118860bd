//! Rollouts in a world of dice: what a policy would do to assumed or recorded traffic, Davy's beside those of other tools.
//!
//! Pure: no clock, no I/O, and the dice are seeded. For Davy it runs the machine that runs in production ([`machine`]), with the
//! judge on closed blocks of a second and the guard at each failure, both held to the same policy; for others their rule and a ramp by time
//! ([`rules`], [`pilot::Ramp`]). What is modelled of all of them alike:
//!
//! - Requests come evenly; each goes to the canary with the weight's chance, and fails with its version's.
//! - An order moves traffic a second later; a guard at once, but what was admitted before a failure was known
//!   ([`traffic::Traffic::answer_ms`]) has been served.
//! - A rollout goes on until traffic is back or the canary has taken over. One that waits for a person is judged all the while; a
//!   day after the beginning it is called undecided.
//! - **Harm** is the number of failed canary requests until traffic is back. A bad version that was promoted goes on to fail: of it
//!   the first hour of the rollout is counted.

pub mod dice;
pub mod guard;
pub mod machine;
pub mod named;
pub mod pace;
pub mod pilot;
pub mod recorded;
pub mod rules;
pub mod schedule;
pub mod summary;
pub mod traffic;
pub mod world;

pub use machine::Machine;
pub use named::Named;
pub use summary::Summary;
pub use traffic::Traffic;
pub use world::{End, Outcome};

use pilot::Ramp;
use rules::{checks::Checks, oracle::Oracle, peeking::Peeking, rank::Rank};

/// What all policies of one comparison share.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What comes.
    pub traffic: Traffic,
    /// Davy, about to begin.
    pub davy: Machine,
    /// Weights of the other tools before the canary takes over, in basis points, rising.
    pub steps: Vec<u16>,
    /// The least time at each of them, in seconds.
    pub hold_s: u64,
    /// The oracle's chance of an error.
    pub alpha: f64,
}

impl Comparison {
    /// Draws one rollout under a policy.
    #[must_use]
    pub fn run(&self, policy: Named, seed: u64) -> Outcome {
        let Self { traffic, steps, hold_s, .. } = self;
        let steps = steps.clone();
        match policy {
            Named::Davy => world::run(traffic, &mut self.davy.clone(), seed),
            Named::Checks { kind, interval_s } => {
                world::run(traffic, &mut Ramp::new(Checks::new(kind, interval_s), steps, *hold_s), seed)
            }
            Named::Rank(points) => world::run(traffic, &mut Ramp::new(Rank::new(points), steps, *hold_s), seed),
            Named::Peeking => world::run(traffic, &mut Ramp::new(Peeking::default(), steps, *hold_s), seed),
            Named::Oracle => {
                let oracle = Oracle::new(self.alpha, traffic.baseline, traffic.canary);
                world::run(traffic, &mut Ramp::new(oracle, steps, *hold_s), seed)
            }
        }
    }

    /// Draws so many rollouts under a policy, on as many threads as are given. Their number changes nothing.
    #[must_use]
    pub fn summary(&self, policy: Named, runs: u64, seed: u64, threads: u64) -> Summary {
        let threads = threads.clamp(1, runs.max(1));
        let part = |thread: u64| {
            let numbers = (thread..runs).step_by(usize::try_from(threads).unwrap_or(1));
            numbers.map(|run| self.run(policy, seed.wrapping_mul(1_000_003).wrapping_add(run))).collect::<Vec<_>>()
        };
        let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..threads).map(|thread| scope.spawn(move || part(thread))).collect();
            handles.into_iter().flat_map(|handle| handle.join().unwrap_or_default()).collect()
        });
        Summary::of(&outcomes)
    }
}
