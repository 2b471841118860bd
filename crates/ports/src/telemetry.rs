//! Where counts come from.

use crate::{Error, Streamed};
use davy_core::{ServiceKey, Window};
use serde::{Deserialize, Serialize};

/// Gives the windows of a service.
pub trait Telemetry: Send + Sync {
    /// Every window after the cursor that the source still keeps (a minute at least), then each as it closes. Goes
    /// on for ever: a source that fails gives an error and is asked again by the stream itself; the windows missed
    /// meanwhile follow if they were kept. An item at least every second while the source is well.
    fn windows(&self, key: &ServiceKey, after: Option<Cursor>) -> Streamed<'static, Result<Window, Error>>;
}

/// The last window that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The run of the router.
    pub boot: String,
    /// Its number in that run.
    pub sequence: u64,
}
