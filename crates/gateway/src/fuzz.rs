//! What is fuzzed of the gateway and is nobody else's to see. Each takes any bytes, and panics where a law is broken.

mod frames;
mod heads;
mod held;
mod served;

pub use frames::frames;
pub use heads::heads;
pub use held::held;
pub use served::served;
