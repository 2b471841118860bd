//! The form for what runs already: each field with who says it.

use super::{Form, dockerfile::joined, health, secret, service::words, service_name};
use crate::diagnostic::quote;
use davy_core::{Check, Found, Place, Said, Speaker};

/// Variables that every shell has, and that say nothing of a service.
const NOBODYS: [&str; 5] = ["PATH", "HOME", "HOSTNAME", "TERM", "PWD"];

/// The form for a container that runs, and what is to be known of it: a line each.
#[must_use]
pub fn of_container(found: &Found) -> (Form, Vec<String>) {
    let mut form = Form::blank(Place::Docker);
    let mut notes = Vec::new();
    let container = format!("the container {}", quote(&found.name));
    let image = format!("the image {}", quote(&found.image));
    let by = |speaker| match speaker {
        Speaker::Image => image.clone(),
        Speaker::Container => container.clone(),
    };
    let (name, origin) = match &found.compose {
        Some((project, service)) => {
            (service, format!("service {} of the Compose project {}", quote(service), quote(project)))
        }
        None => (&found.name, container.clone()),
    };
    form.say("service", service_name(name), origin, true);
    form.say("image", &found.image, &container, true);
    if found.image.starts_with("sha256:") {
        form.say("image", &found.image, &container, false);
        notes.push(format!("{container} names its image by an id: write the name by which it is built or pulled"));
    }
    if let Some(engine) = &found.engine {
        form.say("engine", engine, "where it runs", true);
    }
    port(&mut form, found, &mut notes, by);
    if let Some(Said { value, by: speaker }) = &found.check {
        check(&mut form, value, &format!("HEALTHCHECK of {}", by(*speaker)), found, &mut notes);
    }
    if !found.command.is_empty() {
        match found.command.iter().any(|word| secret::is_likely(word.split('=').next().unwrap_or(word), word)) {
            true => notes.push(format!(
                "the command of {container} was left out: it looks like it holds a secret, which everybody on the host could \
                 see; let the program read it from its environment"
            )),
            false => form.say("command", words(&found.command), &container, true),
        }
    }
    let mut one = |key, value: Option<String>| {
        if let Some(value) = value {
            form.say(key, value, &container, true);
        }
    };
    one("user", found.user.clone());
    one("stop-signal", found.stop_signal.clone());
    one("resources.cpu", found.cpu.map(|milli| format!("{milli}m")));
    one(
        "resources.memory",
        found.memory.map(|bytes| match bytes % (1 << 20) {
            0 => format!("{}MiB", bytes >> 20),
            _ => format!("{}KiB", bytes.div_ceil(1 << 10)),
        }),
    );
    if !found.volumes.is_empty() {
        form.say("volumes", found.volumes.join("\n"), &container, true);
        notes.push(format!(
            "{container} and Davy's share its volumes while both run: see that two may write to them at once, or stop it first"
        ));
    }
    for path in &found.nameless {
        notes.push(format!(
            "what {container} keeps under {} has no name, and Davy's containers begin without it: give it one in `volumes`",
            quote(path)
        ));
    }
    environment(&mut form, found, &container, &mut notes);
    notes.push(format!(
        "{container} goes on: nothing stops it. Once requests come through Davy's gateway, stop it yourself"
    ));
    (form, notes)
}

fn port(form: &mut Form, found: &Found, notes: &mut Vec<String>, by: impl Fn(Speaker) -> String) {
    let is_published = |port: &&Said<u16>| found.reach.published.contains_key(&port.value);
    let taken = found.ports.iter().find(is_published).or_else(|| found.ports.first());
    let Some(taken) = taken else {
        notes.push(format!("{} exposes no port: write where it listens", by(Speaker::Container)));
        return form.say("port", "", "nothing says it", false);
    };
    let others: Vec<String> =
        found.ports.iter().filter(|port| port.value != taken.value).map(|port| port.value.to_string()).collect();
    let origin = match (is_published(&taken), others.is_empty()) {
        (true, _) => format!("the published port of {}", by(Speaker::Container)),
        (false, _) => format!("EXPOSE of {}", by(taken.by)),
    };
    form.say("port", taken.value.to_string(), origin, others.is_empty());
    if !others.is_empty() {
        let message =
            format!("a service has one port, and {} was taken; there are {}, too", taken.value, others.join(", "));
        notes.push(message);
    }
}

fn check(form: &mut Form, check: &Check, origin: &str, found: &Found, notes: &mut Vec<String>) {
    let command = match check.test.split_first() {
        Some((first, rest)) if first == "CMD-SHELL" => rest.join(" "),
        Some((first, rest)) if first == "CMD" => joined(rest),
        _ => return,
    };
    let Some(request) = health::request(&command) else {
        notes.push(format!(
            "the {origin} is no plain request: without a path it is heeded as it is if the image has it; else write one"
        ));
        return;
    };
    form.say("health.path", request.path, origin, true);
    for (key, length) in [("health.grace", check.start), ("health.interval", check.interval)] {
        if let Some(length) = length {
            form.say(key, length.to_string().replace(' ', ""), origin, true);
        }
    }
    let others = request.port.filter(|port| !found.ports.iter().any(|known| known.value == *port));
    if let Some(port) = others {
        notes.push(format!("the {origin} asks on port {port}, which nothing exposes: Davy asks on `port`"));
    }
}

fn environment(form: &mut Form, found: &Found, container: &str, notes: &mut Vec<String>) {
    let (mut plain, mut secrets) = (Vec::new(), Vec::new());
    for (name, value) in &found.env {
        if NOBODYS.contains(&name.as_str()) || name == "PORT" {
            continue;
        }
        if secret::is_likely(name, value) {
            secrets.push(name.as_str());
        } else if value.contains(['\n', '\r']) {
            notes.push(format!("{} of its environment has several lines and was left out", quote(name)));
        } else {
            plain.push(format!("{name}={value}"));
        }
    }
    if !plain.is_empty() {
        form.say("env", plain.join("\n"), container, true);
    }
    if !secrets.is_empty() {
        form.say("secrets", secrets.join("\n"), container, false);
        let list = secrets.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ");
        notes.push(format!("{list} look like secrets: their values were not copied; set each with `davy secret set`"));
    }
}
