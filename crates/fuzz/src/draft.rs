//! What `davy init` reads: Compose files and Dockerfiles.

use davy_config::{
    draft::{Compose, Dockerfile, Draft, service_name},
    parse,
};
use davy_core::ServiceName;
use std::path::Path;

/// A file as both; what is drafted of it has no errors.
pub(crate) fn body(bytes: &[u8]) {
    let dockerfile = Dockerfile::read("Dockerfile", bytes, None);
    match &dockerfile {
        Ok(dockerfile) => sound(&dockerfile.draft("shop")),
        Err(refusal) => assert!(refusal.line >= 1 && !refusal.message.is_empty() && !refusal.hint.is_empty()),
    }
    let compose = Compose::read("compose.yaml", bytes, Path::new("/srv/shop"));
    match &compose {
        Ok(compose) => {
            for service in compose.services() {
                sound(&compose.draft(service, None));
                sound(&compose.draft(service, dockerfile.as_ref().ok()));
            }
        }
        Err(refusal) => assert!(refusal.line >= 1 && !refusal.message.is_empty()),
    }
    let name = service_name(&String::from_utf8_lossy(bytes));
    assert!(name.is_empty() || ServiceName::new(name.as_str()).is_ok(), "{name:?} is no name");
}

fn sound(draft: &Draft) {
    let Draft { service, text, notes, .. } = draft;
    let file = parse(text.as_bytes()).unwrap_or_else(|errors| panic!("{errors:?} in\n{text}"));
    file.resolve(None, Some(service)).unwrap_or_else(|errors| panic!("{errors:?} in\n{text}"));
    for note in notes {
        assert!(note.line >= 1 && !note.message.is_empty(), "{note:?}");
        assert!(!note.message.chars().any(char::is_control), "{note:?}");
    }
}
