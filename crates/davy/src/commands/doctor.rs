//! `davy doctor`: what is wrong, and what to do about it.

use crate::{
    cli::{Data, Server},
    client::Client,
    database::Database,
    exit::{DONE, Exit, Failure},
    home::{Home, is_private},
    output,
    retention::Retention,
};
use davy_engine::{Ledger, Vault, store::Trust};
use davy_server::wire::{Service, Untold};
use std::sync::Arc;

/// Free bytes below which a disk is nearly full: a backup and the logs of databases need some hundred megabytes.
const ENOUGH: u64 = 512 << 20;

struct Finding {
    what: &'static str,
    well: bool,
    says: String,
}

pub(crate) async fn run(asked: &Data, server: &Server, json: bool) -> Result<Exit, Failure> {
    let home = Home::find(asked.data.as_deref())?;
    let mut findings = vec![folder(&home), token(&home)];
    findings.extend(journal(&home).await);
    findings.extend(secrets(&home).await);
    findings.extend(memory(&home).await);
    findings.push(gateway(&home).await);
    findings.extend(certificates(&home).await);
    findings.extend(docker(&home).await);
    findings.extend(services(server).await);
    for finding in &findings {
        match json {
            true => output::json(&serde_json::json!({
                "type": "check", "check": finding.what, "ok": finding.well, "says": finding.says,
            })),
            false => {
                output::data(&format!(
                    "{} {:<9} {}",
                    if finding.well { "ok  " } else { "FAIL" },
                    finding.what,
                    finding.says
                ));
            }
        }
    }
    Ok(if findings.iter().all(|finding| finding.well) { DONE } else { Exit::Internal })
}

fn folder(home: &Home) -> Finding {
    let path = home.data.display();
    let (well, says) = match is_private(&home.data) {
        None => (false, format!("{path} is not there: `davy up` creates it")),
        Some(false) => (false, format!("{path} can be read by others: chmod 700 it")),
        Some(true) => match rustix::fs::statvfs(&home.data) {
            Ok(disk) => {
                let (free, all) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
                let enough = free >= ENOUGH;
                let room = format!("{path}, {} of {} free", size(free), size(all));
                let next = "the disk is nearly full; once it is, no rollout goes on, but traffic does: make room, or keep evidence for \
                     less long with `davy up --keep-evidence`";
                (enough, if enough { room } else { format!("{room}: {next}") })
            }
            Err(error) => (false, format!("{path}: {error}")),
        },
    };
    Finding { what: "folder", well, says }
}

fn token(home: &Home) -> Finding {
    let path = home.token_file();
    let (well, says) = match is_private(&path) {
        None => (false, "no token yet: `davy up` makes one".to_owned()),
        Some(false) => (false, format!("{} can be read by others: chmod 600 it", path.display())),
        Some(true) => (true, format!("{} is private", path.display())),
    };
    Finding { what: "token", well, says }
}

/// Whether it holds, how large it is and how long it keeps what is in it.
async fn journal(home: &Home) -> Vec<Finding> {
    let one = |well, says| vec![Finding { what: "journal", well, says }];
    let database = match Database::of(home) {
        Ok(Database::File(path)) if !path.exists() => {
            return one(false, "no journal yet: `davy up` makes one".to_owned());
        }
        Err(failure) => return one(false, failure.message),
        Ok(database) => database,
    };
    let journal = match database.read().await {
        Err(failure) => return one(false, failure.message),
        Ok(journal) => journal,
    };
    let found = match journal.verify_with(&Trust::of(&home.checkpoint_public()).unwrap_or_default()).await {
        Err(error) => return one(false, error.to_string()),
        Ok(found) => found,
    };
    let broken = found.broken.len();
    let (events, checkpoints) = (found.events, found.checkpoints);
    let says = format!("{events} events, {checkpoints} checkpoints, {broken} broken: `davy audit verify`");
    let mut findings = one(broken == 0, says);
    findings.push(match journal.room().await {
        Err(error) => Finding { what: "size", well: false, says: error.to_string() },
        Ok(room) => {
            let unused = if room.unused > 0 {
                format!(", {} of it free for what comes", size(room.unused))
            } else {
                String::new()
            };
            let since =
                room.oldest.map(|oldest| format!(", the oldest of {}", output::time(oldest))).unwrap_or_default();
            let let_go = if found.let_go > 0 {
                format!("; that of {} rollouts was let go", found.let_go)
            } else {
                String::new()
            };
            let packed = if found.packed > 0 { format!(" ({} of them packed)", found.packed) } else { String::new() };
            let says = format!(
                "{} on disk{unused}; {} events{packed}, {} batches of evidence{since}{let_go}",
                size(room.bytes),
                found.events,
                found.batches
            );
            Finding { what: "size", well: true, says }
        }
    });
    findings.extend(home.running().map(|running| {
        let says = match running.keeps {
            Retention::FOREVER => "events and evidence, for ever".to_owned(),
            keeps => format!("events for ever, evidence {keeps} after its rollout's end"),
        };
        Finding { what: "kept", well: true, says: format!("{says}: `davy up --keep-evidence`") }
    }));
    findings
}

/// What the processes that run hold in memory.
async fn memory(home: &Home) -> Option<Finding> {
    let resident = |process: u32| -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    };
    let server = home.running().and_then(|running| resident(running.process));
    // One in a container of its own has a number that means another process here.
    let hello = davy_gateway::Client::new(home.control()).hello().await.ok();
    let own = |process: u32| {
        std::fs::read(format!("/proc/{process}/cmdline"))
            .is_ok_and(|words| words.split(|byte| *byte == 0).any(|word| word == b"gateway"))
    };
    let gateway = hello.map(|hello| hello.pid).filter(|process| own(*process)).and_then(resident);
    let named = [("server", server), ("gateway", gateway)];
    let held: Vec<String> =
        named.into_iter().filter_map(|(name, bytes)| Some(format!("{name} {}", size(bytes?)))).collect();
    (!held.is_empty()).then(|| Finding { what: "memory", well: true, says: held.join(", ") })
}

/// As people say how large something is.
fn size(bytes: u64) -> String {
    const KIB: u64 = 1024;
    match bytes {
        0..0x10_0000 => format!("{} KiB", bytes.div_ceil(KIB)),
        0x10_0000..0x4000_0000 => format!("{}.{} MiB", bytes / 0x10_0000, bytes % 0x10_0000 * 10 / 0x10_0000),
        _ => format!("{}.{} GiB", bytes / 0x4000_0000, bytes % 0x4000_0000 * 10 / 0x4000_0000),
    }
}

/// The secrets, where any were set.
async fn secrets(home: &Home) -> Option<Finding> {
    let journal = Database::of(home).ok()?.read().await.ok()?;
    if journal.keys().await.ok()?.is_empty() {
        return None;
    }
    let key = home.secret_key();
    let path = key.path().display().to_string();
    let ledger = Arc::new(Ledger::open(journal).await.ok()?);
    let trouble = match Vault::open(ledger, key) {
        Ok(vault) => vault.trouble().await,
        Err(error) => Some(error),
    };
    let (well, says) = match trouble {
        None => (true, format!("{path} opens them")),
        Some(error) => (false, format!("{error}: {}", error.hint)),
    };
    Some(Finding { what: "secrets", well, says })
}

async fn gateway(home: &Home) -> Finding {
    let (well, says) = match davy_gateway::Client::new(home.control()).hello().await {
        Ok(hello) => (true, format!("listens on {}", hello.listen)),
        Err(error) => (false, format!("{error}: `davy up` starts it")),
    };
    Finding { what: "gateway", well, says }
}

/// Each certificate that the gateway has or should have. One that ends within two weeks is not renewed as it should be.
async fn certificates(home: &Home) -> Vec<Finding> {
    let known = davy_gateway::Client::new(home.control()).certificates().await.unwrap_or_default();
    let findings = known.into_iter().map(|certificate| {
        let name = certificate.names.join(", ");
        let ends = certificate.ends.and_then(|ends| jiff::Timestamp::from_second(ends).ok());
        let left = ends.map(|ends| ends.as_second() - jiff::Timestamp::now().as_second());
        let lasts = left.is_some_and(|left| left > 14 * 24 * 3600);
        let well = certificate.trouble.is_none() && lasts;
        let until = ends.map_or("there is none".to_owned(), |ends| format!("until {ends}"));
        let soon = (ends.is_some() && !lasts).then(|| "it ends soon: put a new one in its place".to_owned());
        let trouble = certificate.trouble.or(soon).map(|why| format!("; {why}")).unwrap_or_default();
        Finding { what: "tls", well, says: format!("{name}: {until}{trouble}") }
    });
    findings.collect()
}

/// The engines where there may be containers.
async fn docker(home: &Home) -> Vec<Finding> {
    let data = home.docker();
    if !data.exists() {
        return Vec::new();
    }
    let Ok(engines) = davy_docker::Engines::open(data) else { return Vec::new() };
    let needed = engines.all().into_iter().filter(davy_docker::DockerPlatform::is_needed);
    let reached = needed.map(|place| async move {
        let (well, says) = match place.reach().await {
            Ok(version) => (true, format!("engine {version} answers at {}", place.host())),
            Err(error) => (false, format!("{error}: {}", error.hint)),
        };
        Finding { what: "docker", well, says }
    });
    futures_util::future::join_all(reached).await
}

/// What people were not told yet although it was tried.
async fn untold(server: &Server) -> Vec<Finding> {
    let asking = async { Client::find(server)?.list::<Untold>("/api/notify").await };
    let stuck = asking.await.unwrap_or_default().into_iter().filter(|one| one.trouble.is_some());
    stuck.map(|one| Finding { what: "notify", well: false, says: super::notify::words(&one) }).collect()
}

async fn services(server: &Server) -> Vec<Finding> {
    let asking = async { Client::find(server)?.list::<Service>("/api/services").await };
    match asking.await {
        Err(failure) => vec![Finding { what: "server", well: false, says: failure.message }],
        Ok(services) => {
            let ill = |service: &Service| service.instances.iter().any(|instance| instance.health != "healthy");
            let mut findings =
                vec![Finding { what: "server", well: true, says: format!("{} services", services.len()) }];
            findings.extend(untold(server).await);
            findings.extend(services.iter().filter(|service| ill(service)).map(|service| Finding {
                what: "instances",
                well: false,
                says: format!(
                    "{}/{}: {}",
                    service.environment,
                    service.service,
                    service.instances.iter().map(|i| format!("{} {}", i.id, i.health)).collect::<Vec<_>>().join(", ")
                ),
            }));
            findings
        }
    }
}
