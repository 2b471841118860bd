//! The examples' own README files, followed as a person would: every command in them but those that stay in the foreground.

use crate::{
    engine::Engine,
    host::{DAVY, Host, Load},
};
use std::{fs, path::Path, process::Command};

/// A copy of an example, and what its commands are run with.
struct Example {
    host: Host,
    name: &'static str,
}

impl Example {
    /// With waits for machines, not for people.
    fn new(name: &'static str, mut host: Host) -> Self {
        let there = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
        let here = host.folder.path().join("examples").join(name);
        fs::create_dir_all(&here).expect("a folder");
        host.start();
        for entry in fs::read_dir(there).expect("an example").flatten().filter(|entry| entry.path().is_file()) {
            let mut text = fs::read_to_string(entry.path()).expect("a text");
            for (for_people, for_machines) in [
                ("hold: 5s", "hold: 1s"),
                ("drain: 5s", "drain: 1s"),
                ("bake: 30s", "bake: 1s"),
                ("127.0.0.1:8080", &host.gateway),
                ("steps: [5%, 25%, 50%, 100%]", "steps: [50%, 100%]"),
                ("steps: [10%, 50%, 100%]", "steps: [50%, 100%]"),
                (":8080 ", &format!(":{} ", host.gateway.rsplit(':').next().expect("a port"))),
            ] {
                text = text.replace(for_people, for_machines);
            }
            fs::write(here.join(entry.file_name()), text).expect("a file");
        }
        Self { host, name }
    }

    /// The commands of a section, block by block.
    fn blocks(&self, section: &str) -> Vec<String> {
        let readme = self.host.folder.path().join("examples").join(self.name).join("README.md");
        let text = fs::read_to_string(readme).expect("a README");
        let section = text.split("\n## ").find(|part| part.starts_with(section)).expect("the section");
        let blocks = section.split("```sh\n").skip(1).filter_map(|part| part.split_once("```"));
        blocks.map(|(block, _)| block.to_owned()).collect()
    }

    /// Runs commands as they stand, in `folder`; a build is the one that the tests have.
    fn run(&self, folder: &Path, commands: &str) -> String {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
        let built = Path::new(DAVY).parent().and_then(Path::parent).expect("the build's folder");
        let script = commands
            .replace("cargo build --release", &format!("cargo build --locked --manifest-path '{manifest}'"))
            .replace("/release", "/debug");
        let script: String =
            script.lines().filter(|line| !line.starts_with("davy up")).map(|line| format!("{line}\n")).collect();
        let mut bash = Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", &format!("git() {{ :; }}\n{script}")]).current_dir(folder);
        bash.envs(self.host.command(&[]).get_envs().filter_map(|(name, value)| Some((name, value?))));
        // What cargo and rustup keep is in the home of whoever runs the tests.
        bash.env("HOME", std::env::var("HOME").unwrap_or_default()).env("CARGO_TARGET_DIR", built);
        bash.env("DOCKER_BUILDKIT", "1");
        let path = std::env::var("PATH").unwrap_or_default();
        bash.env("PATH", format!("{}:/usr/bin:{path}", built.join("debug").display()));
        let output = bash.output().expect("bash runs");
        let said = crate::host::text(&output);
        assert!(output.status.success(), "{script}\n{said}");
        said
    }
}

#[test]
fn the_shop_s_page_asks_a_canary_through_the_gateway() {
    let example = Example::new("shop", Host::new());
    let root = example.host.folder.path().to_owned();
    let folder = root.join("examples/shop");
    example.run(&root, &example.blocks("1. Build").join("\n"));
    let said = example.run(&folder, &example.blocks("2. Both services")[0]);
    assert!(said.contains("A lamp costs 12.00 (prices v1)"), "{said}");
    let load = Load::on(&example.host.gateway, "/");
    let said = example.run(&folder, &example.blocks("3. A canary")[0]);
    assert!(said.contains("A lamp costs 11.50 (prices v2)"), "{said}");
    let said = example.run(&folder, &example.blocks("4. One that harms")[0]);
    assert!(said.contains("exit code 3") && said.contains("**Rolled back"), "{said}");
    let (sent, failed) = load.stop();
    assert!(sent > 300 && failed == 0, "{failed} of {sent} were failed by Davy itself");
    example.run(&folder, &example.blocks("5. Clean up").join("\n"));
    example.host.down();
}

#[test]
fn the_logo_is_deployed_as_containers() {
    let engine = Engine::start();
    let mut host = Host::new();
    host.environment.push(("DOCKER_HOST".to_owned(), engine.host()));
    let example = Example::new("logo", host);
    let root = example.host.folder.path().to_owned();
    let folder = root.join("examples/logo");
    let blocks = example.blocks("On Docker");
    example.run(&root, &blocks[0]);
    let (first, second) = blocks[1].split_once('\n').expect("two lines");
    example.run(&folder, first);
    let load = Load::start(&example.host.gateway);
    example.run(&folder, second);
    assert_eq!(example.host.get(), Some((200, "v2".to_owned())));
    let said = example.run(&folder, &blocks[2]);
    assert!(said.contains("exit code 3") && said.contains("logo"), "{said}");
    let (sent, failed) = load.stop();
    assert!(sent > 300 && failed == 0, "{failed} of {sent} were failed by Davy itself");
    example.run(&folder, &blocks[3]);
    assert!(engine.containers().is_empty() && engine.said(&["images", "--quiet"]).is_empty());
    example.host.down();
}

#[test]
fn the_shop_is_deployed_as_containers() {
    let engine = Engine::start();
    let mut host = Host::new();
    host.environment.push(("DOCKER_HOST".to_owned(), engine.host()));
    host.listen = "0.0.0.0:0".to_owned();
    let example = Example::new("shop", host);
    let root = example.host.folder.path().to_owned();
    let blocks = example.blocks("On Docker");
    example.run(&root, &blocks[0]);
    let folder = root.join("examples/shop");
    let (first, rest) = blocks[1].split_once("curl ").expect("both services, then a look at them");
    example.run(&folder, first);
    let load = Load::on(&example.host.gateway, "/");
    let said = example.run(&folder, &format!("curl {rest}"));
    let (sent, failed) = load.stop();
    assert!(said.contains("costs 12.00 (prices v1)") && said.contains("costs 11.50 (prices v2)"), "{said}");
    assert!(sent > 300 && failed == 0, "{failed} of {sent} were failed by Davy itself");
    example.run(&folder, &blocks[2]);
    assert!(engine.containers().is_empty());
    example.host.down();
}
