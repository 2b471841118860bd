//! What decides must not be able to do: no runtime, no I/O, no clock among the dependencies.

use std::{collections::BTreeSet, process::Command};

const ALLOWED: &[&str] = &[
    "davy-core",
    "davy-judge",
    "libm",
    "serde",
    "serde_core",
    "serde_derive",
    "serde_json",
    "thiserror",
    "thiserror-impl",
    "sha2",
    "digest",
    "block-buffer",
    "hybrid-array",
    "typenum",
    "crypto-common",
    "const-oid",
    "cpufeatures",
    "cfg-if",
    "libc",
    "itoa",
    "memchr",
    "ryu",
    "zmij",
    "proc-macro2",
    "quote",
    "syn",
    "unicode-ident",
];

#[test]
fn what_decides_has_no_runtime_no_io_and_no_clock() {
    for package in ["davy-core", "davy-judge"] {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let tree = Command::new(cargo)
            .args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}", "-p", package])
            .output()
            .expect("cargo runs");
        assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
        let text = String::from_utf8_lossy(&tree.stdout).into_owned();
        let found: BTreeSet<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(found.contains(package));
        let others: Vec<_> = found.iter().filter(|name| !ALLOWED.contains(name)).collect();
        assert!(others.is_empty(), "{package} depends on {others:?}: is that pure?");
    }
}
