//! What an instance is given of its secrets: variables, and files with the variables that name them.

use davy_core::{Given as How, Secret};
use davy_ports::SecretValue;
use std::collections::BTreeMap;

/// The secrets of one instance.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// By the variable's name.
    pub variables: BTreeMap<String, SecretValue>,
    /// By the file's name.
    pub files: BTreeMap<String, SecretValue>,
}

/// Sorts opened secrets by how they are given.
#[must_use]
pub fn give(secrets: &[Secret], values: Vec<SecretValue>) -> Given {
    let mut given = Given::default();
    for (secret, value) in secrets.iter().zip(values) {
        let name = secret.name.as_str().to_owned();
        match secret.given {
            How::Variable => given.variables.insert(name, value),
            How::File => given.files.insert(name, value),
        };
    }
    given
}

impl Given {
    /// The variables that say where the files are, in the folder as the instance sees it.
    #[must_use]
    pub fn paths(&self, folder: &str) -> BTreeMap<String, String> {
        self.files.keys().map(|name| (format!("{name}_FILE"), format!("{folder}/{name}"))).collect()
    }

    /// Every value.
    pub fn values(&self) -> impl Iterator<Item = &SecretValue> {
        self.variables.values().chain(self.files.values())
    }
}
