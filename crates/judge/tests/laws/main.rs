//! What the judge promises, proven by enumeration, by random inputs and by small simulations.

mod exact;
mod precedence;
mod replay;
mod rollouts;
mod steps;
mod sticky;
mod totals;
mod world;
