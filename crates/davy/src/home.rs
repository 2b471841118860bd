//! Where things are kept, and how a command finds the server.

use crate::{
    exit::{Exit, Failure},
    retention::Retention,
};
use anyhow::Context;
use davy_engine::KeyFile;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Unix socket paths end at 108 bytes, and the longest of ours is 27 longer than the folder.
const LONGEST: usize = 80;

/// The folders and files of one server.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    pub data: PathBuf,
}

/// What the last `davy up` of a user left for the commands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LastUp {
    pub url: String,
    pub token_file: PathBuf,
    pub data: PathBuf,
    /// How it is reached from this machine, when it is served by TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<OwnTls>,
}

/// What the server that works on a folder says of itself in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Running {
    pub process: u32,
    /// How long it keeps evidence.
    pub keeps: Retention,
}

/// A server of this machine that is known by a name of its certificate, which need not lead here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OwnTls {
    pub address: SocketAddr,
    /// Its chain: what signs itself, or carries its authority, needs no other.
    pub certificate: PathBuf,
}

impl Home {
    /// The folder given, else the last server's, else this user's.
    pub(crate) fn find(data: Option<&Path>) -> Result<Self, Failure> {
        let data = match data {
            Some(data) => data.to_owned(),
            None => last_up().map_or_else(|| state().map(|state| state.join("data")), |last| Ok(last.data))?,
        };
        let data = std::path::absolute(&data).context("find the data folder")?;
        if data.as_os_str().len() > LONGEST {
            let failure = Failure::new(
                Exit::Usage,
                "D010",
                format!(
                    "the data folder's path is {} bytes long; sockets in it allow {LONGEST}",
                    data.as_os_str().len()
                ),
            );
            return Err(failure.hint("give a shorter one with --data"));
        }
        Ok(Self { data })
    }

    pub(crate) fn create(&self) -> Result<(), Failure> {
        for folder in [self.data.clone(), self.run(), self.gateway_state()] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            made.map_err(|error| {
                let message = format!("cannot create the folder {}: {error}", folder.display());
                Failure::new(Exit::Internal, "D011", message).hint("give another one with --data")
            })?;
        }
        let private = fs::set_permissions(self.run(), fs::Permissions::from_mode(0o700));
        private.context("make the socket folder private")?;
        Ok(())
    }

    pub(crate) fn run(&self) -> PathBuf {
        self.data.join("run")
    }

    pub(crate) fn control(&self) -> PathBuf {
        self.run().join("gateway.sock")
    }

    pub(crate) fn gateway_state(&self) -> PathBuf {
        self.data.join("gateway")
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.data.join("journal.db")
    }

    /// What was last seen of the journal, where that is a server's database.
    pub(crate) fn seen(&self) -> PathBuf {
        self.data.join("seen")
    }

    pub(crate) fn docker(&self) -> PathBuf {
        self.data.join("docker")
    }

    pub(crate) fn reports(&self) -> PathBuf {
        self.data.join("reports")
    }

    /// The key under the journal's checkpoints.
    pub(crate) fn checkpoint_key(&self) -> KeyFile {
        KeyFile::own(self.data.join("checkpoint.key"))
    }

    /// The public halves of the keys that signed checkpoints here, one a line.
    pub(crate) fn checkpoint_public(&self) -> PathBuf {
        self.data.join("checkpoint.pub")
    }

    /// The key of the secrets: where the environment says, else in the folder, made when it is needed.
    pub(crate) fn secret_key(&self) -> KeyFile {
        match std::env::var_os("DAVY_SECRET_KEY_FILE").filter(|path| !path.is_empty()) {
            Some(path) => KeyFile::given(path.into()),
            None => KeyFile::own(self.data.join("secrets.key")),
        }
    }

    pub(crate) fn token_file(&self) -> PathBuf {
        self.data.join("token")
    }

    /// Holds the folder, alone or with others. The lock ends with the process, however it ends.
    pub(crate) fn lock(&self, held: Held) -> Result<File, Failure> {
        let path = self.data.join("lock");
        let file = lockable(&path)?;
        let locked = match held {
            Held::Alone => file.try_lock(),
            Held::Together => file.try_lock_shared(),
        };
        match locked {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => {
                let message = format!("another server uses the data folder {}", self.data.display());
                Err(Failure::new(Exit::Usage, "D012", message).hint("stop it with `davy down`, or give another --data"))
            }
            Err(fs::TryLockError::Error(error)) => {
                Err(anyhow::Error::new(error).context(format!("lock {}", path.display())).into())
            }
        }
    }

    /// What the one server that works holds of its folder's, where several may run.
    pub(crate) fn working(&self) -> Result<File, Failure> {
        lockable(&self.data.join("working"))
    }

    /// The folder's own name, made once: it goes with the folder wherever that is moved.
    pub(crate) fn name(&self) -> Result<String, Failure> {
        let path = self.data.join("name");
        if let Ok(name) = fs::read_to_string(&path) {
            return Ok(name.trim().to_owned());
        }
        let name = uuid::Uuid::now_v7().simple().to_string();
        private(&path, &name)?;
        Ok(name)
    }

    /// Says in the folder what runs on it.
    pub(crate) fn tell(&self, running: &Running) -> Result<(), Failure> {
        private(&self.data.join("running"), &serde_json::to_string(running).context("write what runs")?)
    }

    /// The server that works on the folder, as far as this machine's processes tell.
    pub(crate) fn running(&self) -> Option<Running> {
        let running: Running = serde_json::from_str(&fs::read_to_string(self.data.join("running")).ok()?).ok()?;
        let name = fs::read_to_string(format!("/proc/{}/comm", running.process)).ok()?;
        name.starts_with("davy").then_some(running)
    }

    /// The token, made at the first start.
    pub(crate) fn token(&self) -> Result<String, Failure> {
        let path = self.token_file();
        if let Ok(token) = fs::read_to_string(&path) {
            return Ok(token.trim().to_owned());
        }
        let mut random = [0_u8; 32];
        File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random)).context("draw a token")?;
        let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        private(&path, &token)?;
        Ok(token)
    }
}

/// Who may use a folder beside whoever holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// Nobody.
    Alone,
    /// Those that hold it together.
    Together,
}

fn lockable(path: &Path) -> Result<File, Failure> {
    let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path);
    Ok(opened.with_context(|| format!("open {}", path.display()))?)
}

/// Whether a path is there and private.
pub(crate) fn is_private(path: &Path) -> Option<bool> {
    fs::metadata(path).ok().map(|metadata| metadata.permissions().mode().trailing_zeros() >= 6)
}

/// Writes a file that only its owner can read.
pub(crate) fn private(path: &Path, text: &str) -> Result<(), Failure> {
    let opened = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    Ok(written.with_context(|| format!("write {}", path.display()))?)
}

fn state() -> Result<PathBuf, Failure> {
    let base = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = base.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state")));
    let none = || Failure::new(Exit::Usage, "D013", "neither HOME nor XDG_STATE_HOME is set").hint("give --data DIR");
    Ok(base.ok_or_else(none)?.join("davy"))
}

pub(crate) fn last_up() -> Option<LastUp> {
    serde_json::from_str(&fs::read_to_string(state().ok()?.join("last-up.json")).ok()?).ok()
}

pub(crate) fn remember(last: &LastUp) -> Result<(), Failure> {
    let folder = state()?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).context("create the state folder")?;
    private(&folder.join("last-up.json"), &serde_json::to_string(last).context("write what was started")?)
}
