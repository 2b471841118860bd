//! What is simulated is what runs.

mod figures;
mod policies;
mod promises;
