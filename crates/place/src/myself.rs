//! What an instance is told of itself, as variables: so that its own counters and logs can say which release they are of.

use davy_core::{InstanceId, ReleaseId, ServiceKey};

/// The variable that names the instance.
pub const INSTANCE: &str = "DAVY_INSTANCE";

/// Names and values. They take the place of variables that the file or a secret calls the same.
#[must_use]
pub fn myself(key: &ServiceKey, release: &ReleaseId, instance: &InstanceId) -> [(&'static str, String); 4] {
    [
        ("DAVY_SERVICE", key.service.to_string()),
        ("DAVY_ENVIRONMENT", key.environment.to_string()),
        ("DAVY_RELEASE", release.to_string()),
        (INSTANCE, instance.to_string()),
    ]
}
