//! A key in a file that only its owner reads: 32 random bytes as 64 hexadecimal digits.

use davy_ports::Error;
use ring::rand::{SecureRandom, SystemRandom};
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// The bytes of a key.
pub(crate) type Key = Zeroizing<[u8; 32]>;

/// Where a key is.
#[derive(Clone, Debug)]
pub struct KeyFile {
    path: PathBuf,
    /// Whether it may be made here, or somebody else sees to it.
    own: bool,
}

impl KeyFile {
    /// One that is made when it is first needed.
    #[must_use]
    pub fn own(path: PathBuf) -> Self {
        Self { path, own: true }
    }

    /// One that has to be there.
    #[must_use]
    pub fn given(path: PathBuf) -> Self {
        Self { path, own: false }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it; none when it is not there yet and may be made.
    ///
    /// # Errors
    /// When others can read it, when it holds something else, or when one that has to be there is not.
    pub(crate) fn read(&self) -> Result<Option<Key>, Error> {
        let tried = format!("read the key {}", self.path.display());
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.own => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let hint = "make one: (umask 077; head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n' > FILE)";
                return Err(Error::never(tried, "it is not there").hint(hint));
            }
            Err(error) => return Err(Error::never(tried, error).hint("let the user that runs davy read it")),
        };
        let mode = fs::metadata(&self.path).map_err(|error| Error::never(&tried, error))?.permissions().mode();
        if mode & 0o077 != 0 {
            let happened = format!("others can read it: its mode is {:o}", mode & 0o777);
            let hint =
                format!("chmod 600 {}; if others may have read it, replace what it protects", self.path.display());
            return Err(Error::never(tried, happened).hint(hint));
        }
        match parse(text.trim()) {
            Some(key) => Ok(Some(key)),
            None => Err(Error::never(tried, "it does not hold 64 hexadecimal digits")
                .hint("put the right file in its place, from a backup made with --with-keys")),
        }
    }

    /// Draws a key and keeps it, unless one is there already.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn make(&self) -> Result<Key, Error> {
        let tried = format!("make the key {}", self.path.display());
        let key = draw(&tried)?;
        let text: Zeroizing<String> = Zeroizing::new(key.iter().map(|byte| format!("{byte:02x}")).collect());
        let made = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&self.path);
        let written =
            made.and_then(|mut file| file.write_all(format!("{}\n", *text).as_bytes()).and_then(|()| file.sync_all()));
        // A key that a power cut takes away would take everything with it that it encrypted.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let written = written.and_then(|()| fs::File::open(folder)?.sync_all());
        written.map_err(|error| Error::later(tried, error).hint("see that the folder can be written"))?;
        Ok(key)
    }
}

/// Random bytes, 256 bits.
pub(crate) fn draw(tried: &str) -> Result<Key, Error> {
    let mut key = Key::default();
    let drawn = SystemRandom::new().fill(&mut *key);
    drawn.map_err(|_| Error::later(tried, "the system gives no random numbers"))?;
    Ok(key)
}

fn parse(text: &str) -> Option<Key> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut key = Key::default();
    for (index, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(key)
}
