//! What the judge promises, proven by enumeration, by random inputs and by small simulations.

mod admission;
mod ages;
mod bounds;
mod clusters;
mod coverage;
mod exact;
mod fleet;
mod golden;
mod guard;
mod harm;
mod honesty;
mod latency;
mod metrics;
mod picture;
mod precedence;
mod replay;
mod rollouts;
mod steps;
mod sticky;
mod totals;
mod world;
