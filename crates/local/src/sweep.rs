//! Processes that carry an instance's mark in their environment: found and ended, whoever their parent is.
//!
//! A process group ends with its leader's shim; a grandchild that left the group, or that outlived a killed shim, is
//! only known by the mark. A process that wiped its environment is not found.

use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};
use std::{
    fs,
    time::{Duration, Instant},
};

/// The variable that every process of an instance carries, its shim included.
pub(crate) const MARK: &str = davy_place::INSTANCE;

/// The processes of an instance, without the caller.
pub(crate) fn marked(instance: &str) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
        .filter(|pid| *pid != getpid() && carries(*pid, instance))
        .collect()
}

fn carries(pid: Pid, instance: &str) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())) else { return false };
    environment
        .split(|byte| *byte == 0)
        .filter_map(|variable| variable.strip_prefix(MARK.as_bytes())?.strip_prefix(b"="))
        .any(|value| value == instance.as_bytes())
}

/// Kills every process of an instance but the caller, and waits until none is left or `limit` has passed.
pub(crate) fn sweep(instance: &str, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        let found = marked(instance);
        if found.is_empty() {
            return true;
        }
        for pid in found {
            // The descriptor is taken first and the mark read again: a process id that was reused is left alone.
            let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
            if carries(pid, instance) {
                let _ = pidfd_send_signal(&process, Signal::KILL);
            }
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
