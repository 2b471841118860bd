//! A network of a test's own: a namespace, and lines to it that are cut as a network cuts them, without a word.

use std::process::Command;

/// A namespace that so many lines lead to. Needs root.
pub(crate) struct Network {
    pub(crate) name: String,
    lines: usize,
    number: u32,
}

fn ip(words: &[&str]) {
    let done = Command::new("ip").args(words).output().expect("ip runs");
    assert!(done.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&done.stderr));
}

impl Network {
    pub(crate) fn new(lines: usize) -> Self {
        let pid = std::process::id();
        let network = Self { name: format!("davy-{pid}"), lines, number: pid % 250 };
        ip(&["netns", "add", &network.name]);
        network.inside(&["ip", "link", "set", "lo", "up"]);
        for line in 0..lines {
            let (here, there) = network.ends(line);
            ip(&["link", "add", &here, "type", "veth", "peer", "name", &there, "netns", &network.name]);
            ip(&["address", "add", &format!("{}/30", network.address(line, 1)), "dev", &here]);
            ip(&["link", "set", &here, "up"]);
            network.inside(&["ip", "address", "add", &format!("{}/30", network.address(line, 2)), "dev", &there]);
            network.inside(&["ip", "link", "set", &there, "up"]);
        }
        network
    }

    fn ends(&self, line: usize) -> (String, String) {
        let pid = std::process::id();
        (format!("dv{pid}h{line}"), format!("dv{pid}n{line}"))
    }

    fn address(&self, line: usize, end: usize) -> String {
        format!("10.213.{}.{}", self.number, 4 * line + end)
    }

    /// The address of the namespace at the end of a line.
    pub(crate) fn reached(&self, line: usize) -> String {
        self.address(line, 2)
    }

    fn inside(&self, words: &[&str]) {
        ip(&[&["netns", "exec", &self.name][..], words].concat());
    }

    fn rules(&self, line: usize, what: &str) {
        let (_, there) = self.ends(line);
        self.inside(&["iptables", what, "INPUT", "-i", &there, "-j", "DROP"]);
        self.inside(&["iptables", what, "OUTPUT", "-o", &there, "-j", "DROP"]);
    }

    /// Nothing arrives any more, and nobody is told.
    pub(crate) fn cut(&self, line: usize) {
        self.rules(line, "-I");
    }

    /// What is sent arrives again.
    pub(crate) fn mend(&self, line: usize) {
        self.rules(line, "-D");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for line in 0..self.lines {
            Command::new("ip").args(["link", "del", &self.ends(line).0]).output().ok();
        }
        Command::new("ip").args(["netns", "del", &self.name]).output().ok();
    }
}
