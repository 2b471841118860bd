//! The HTTP API: its own routes in front of a whole engine, whose places are in memory.

use crate::stub::Stub;
use davy_core::{Actor, EnvironmentName};
use davy_engine::{
    Access, Engine, KeyFile, Ledger, NewToken, Ports, Role, Vault,
    store::{Signer, Store},
};
use davy_notify::Notifier;
use davy_ports::{NoSignals, NoVault};
use davy_server::fuzz::{Answer, Api};
use std::{cell::RefCell, collections::BTreeMap, path::Path, sync::Arc};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Between two requests.
const NEXT: &[u8] = b"\n====\n";
/// After so many requests everything begins anew: what is kept is not to grow without end.
const MOST: usize = 1_000;
/// These would send messages to whatever address the bytes name, ask this machine's ports, or compute for seconds.
const LEFT_OUT: [&str; 3] = ["/api/notify/test", "/api/set-up/check", "/api/set-up/forecast"];

struct House {
    // Ended before its folder goes.
    runtime: Runtime,
    api: Api,
    tokens: BTreeMap<&'static str, String>,
    asked: usize,
    _folder: TempDir,
}

thread_local! {
    static HOUSE: RefCell<Option<House>> = const { RefCell::new(None) };
}

/// Requests one after the other: `METHOD TARGET WHO`, and after the first line the body. No body makes the server fail, each answer
/// is what it says that it is, and who may only look changes nothing.
pub(crate) fn body(bytes: &[u8]) {
    HOUSE.with_borrow_mut(|held| {
        let mut rest = bytes;
        for _ in 0..16 {
            let at = rest.windows(NEXT.len()).position(|part| part == NEXT);
            let (one, after) = at.map_or((rest, &[][..]), |at| (&rest[..at], &rest[at + NEXT.len()..]));
            let house = held.get_or_insert_with(House::new);
            house.ask(one);
            if house.asked >= MOST {
                *held = None;
            }
            if after.is_empty() {
                return;
            }
            rest = after;
        }
    });
}

impl House {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.expect("a folder");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (api, tokens) = runtime.block_on(open(folder.path()));
        Self { runtime, api, tokens, asked: 0, _folder: folder }
    }

    fn ask(&mut self, bytes: &[u8]) {
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
        let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let who = words.next().unwrap_or("own");
        let body = bytes.get(end + 1..).unwrap_or_default();
        if LEFT_OUT.iter().any(|one| target.contains(one)) {
            return;
        }
        self.asked += 1;
        let token = self.tokens.get(who).map_or(who, String::as_str);
        let Some(answer) = self.runtime.block_on(self.api.ask(method, target, token, body)) else { return };
        let Answer { status, kind, body } = &answer;
        let told = || format!("{line}\n{status} {}", String::from_utf8_lossy(body));
        assert!(*status < 500, "{}", told());
        // It asks for the head alone.
        assert!(method != "HEAD" || body.is_empty(), "{}", told());
        if method != "HEAD" && kind.contains("json") && !kind.contains("ndjson") {
            let value: serde_json::Value =
                serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error}: {}", told()));
            if kind == "application/problem+json" {
                assert_eq!(value["status"], *status, "{}", told());
                assert!(value["code"].as_str().is_some_and(|code| code.starts_with('A')), "{}", told());
                assert!(value["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{}", told());
            }
        }
        let done = (200..300).contains(status);
        let path = target.split('?').next().unwrap_or_default();
        let is_page = path != "/api" && !path.starts_with("/api/");
        // How one may sign in is told to everybody.
        let is_open = path == "/api/session/ways";
        if !self.tokens.contains_key(who) && !is_page && !is_open {
            assert!(!done, "nobody is answered without a token: {}", told());
        }
        if who == "viewer" && method == "POST" {
            assert!(!done || target.contains("/report"), "a viewer changed something: {}", told());
        }
        if who == "staging" && done {
            assert!(!target.contains("/production/"), "a token is for its environment: {}", told());
        }
    }
}

async fn open(folder: &Path) -> (Api, BTreeMap<&'static str, String>) {
    let journal = Store::open(&folder.join("journal.db")).await.expect("a journal");
    let ledger = Arc::new(Ledger::open(journal.clone()).await.expect("a ledger"));
    let vault = Arc::new(Vault::open(ledger.clone(), KeyFile::own(folder.join("secrets.key"))).expect("a vault"));
    let signer = Signer::open(&KeyFile::own(folder.join("checkpoint.key")), &folder.join("checkpoint.pub"));
    let signer = Arc::new(signer.expect("a signer"));
    let stub = Arc::new(Stub::default());
    let ports = Ports {
        journal: Arc::new(journal.clone()),
        platform: stub.clone(),
        router: stub.clone(),
        telemetry: stub.clone(),
        signals: Arc::new(NoSignals),
        reports: folder.join("reports"),
    };
    let engine = Arc::new(Engine::start(ports).await.expect("an engine"));
    let told = Arc::new(journal.clone());
    let options = davy_notify::Options::default();
    let notifier = Arc::new(Notifier::start(told, stub, Arc::new(NoVault), engine.written(), options));
    let own = "own-token".to_owned();
    let access = Arc::new(Access::new(ledger, &own));
    let mut tokens = BTreeMap::from([("own", own)]);
    let staging = EnvironmentName::new("staging").into_iter().collect();
    for (name, role, environments) in [("viewer", Role::Viewer, Vec::new()), ("staging", Role::Deployer, staging)] {
        let new = NewToken { name: name.to_owned(), role, environments, expires: None };
        let (token, _) = access.create(new, &Actor::new("davy")).await.expect("a token");
        tokens.insert(name, token);
    }
    (Api::new(engine, access, vault, notifier, (journal, signer)), tokens)
}
