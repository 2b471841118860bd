//! Images: named by digest, pulled by digest, and which of them a rollback may still need.

use crate::{
    engaged::blocking,
    engine::{failed, is_absent, status},
};
use bollard::{
    Docker,
    auth::DockerCredentials,
    models::ImageInspect,
    query_parameters::{CreateImageOptionsBuilder, RemoveImageOptionsBuilder},
};
use davy_core::{Digest, ServiceKey};
use davy_place::disk;
use davy_ports::Error;
use docker_credential::{CredentialRetrievalError, DockerCredential};
use futures_util::StreamExt;
use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// How many images of a service are kept for a rollback.
const KEPT: usize = 10;
/// The longest wait for a registry's word about an image.
const ASKED: Duration = Duration::from_secs(20);
/// The longest pull without any progress.
const STALLED: Duration = Duration::from_secs(60);
/// Whose credentials are used for an image without a registry's name.
const HUB: &str = "https://index.docker.io/v1/";

/// An image's name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// `registry.example.com/shop/logo`, as it was written.
    pub repository: String,
    /// `2.0`, or `latest`.
    pub tag: String,
    /// `sha256:…`, when it was written.
    pub digest: Option<String>,
}

impl Reference {
    /// Takes a name apart.
    pub(crate) fn parse(name: &str) -> Self {
        let (rest, digest) = match name.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.to_owned())),
            None => (name, None),
        };
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            _ => (rest, "latest"),
        };
        Self { repository: repository.to_owned(), tag: tag.to_owned(), digest }
    }

    /// The registry, as `docker login` names it.
    fn server(&self) -> &str {
        match self.repository.split_once('/') {
            Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
            _ => HUB,
        }
    }

    /// Whether a digest that the engine knows an image by is one of this repository.
    fn owns(&self, known: &str) -> bool {
        let repository = self.repository.strip_prefix("docker.io/").unwrap_or(&self.repository);
        let repository = repository.strip_prefix("library/").unwrap_or(repository);
        known.split_once('@').is_some_and(|(name, _)| name == repository)
    }
}

/// An image that is there, and the name that it will always have.
pub(crate) struct Known {
    pub digest: Digest,
    pub image: ImageInspect,
}

/// Finds out what a name means now, and sees to it that it is on the engine.
pub(crate) async fn resolve(docker: &Docker, name: &str) -> Result<Known, Error> {
    let tried = format!("find the image {name}");
    let reference = Reference::parse(name);
    let here = inspect(docker, name, &tried).await?;
    if let Some(image) = here.filter(|image| reference.digest.is_none() && built_here(image, &reference)) {
        let id = image.id.clone().unwrap_or_default();
        return Ok(Known { digest: Digest::new(id), image });
    }
    let digest = match &reference.digest {
        Some(digest) => digest.clone(),
        None => asked(docker, &reference, &tried).await?,
    };
    let digest = Digest::new(format!("{}@{digest}", reference.repository));
    let image = present(docker, &digest).await?;
    Ok(Known { digest, image })
}

/// The image of a digest: the one that is there, else pulled.
pub(crate) async fn present(docker: &Docker, digest: &Digest) -> Result<ImageInspect, Error> {
    let name = digest.as_str();
    let tried = format!("find the image {name}");
    if let Some(image) = inspect(docker, name, &tried).await? {
        return Ok(image);
    }
    if !name.contains('@') {
        let happened = "it was built on this engine and is there no more";
        return Err(Error::never(tried, happened).hint("build it again, and deploy it"));
    }
    pull(docker, &Reference::parse(name)).await?;
    inspect(docker, name, &tried)
        .await?
        .ok_or_else(|| Error::later(tried, "it was pulled, and the engine does not know it"))
}

async fn inspect(docker: &Docker, name: &str, tried: &str) -> Result<Option<ImageInspect>, Error> {
    match docker.inspect_image(name).await {
        Ok(image) => Ok(Some(image)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(failed(tried, &error)),
    }
}

/// No registry gave it, so that none can be asked what it is.
fn built_here(image: &ImageInspect, reference: &Reference) -> bool {
    !image.repo_digests.iter().flatten().any(|known| reference.owns(known))
}

/// Asks the registry which digest a tag stands for.
async fn asked(docker: &Docker, reference: &Reference, tried: &str) -> Result<String, Error> {
    let name = format!("{}:{}", reference.repository, reference.tag);
    let credentials = credentials(reference).await?;
    let asking = docker.inspect_registry_image(&name, credentials);
    let answer = match tokio::time::timeout(ASKED, asking).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(explain(failed(tried, &error), status(&error), reference)),
        Err(_) => {
            let happened = format!("the registry did not answer within {} s", ASKED.as_secs());
            return Err(Error::later(tried, happened).hint("see that this machine reaches it, and try again"));
        }
    };
    answer.descriptor.digest.ok_or_else(|| Error::later(tried, "the registry's answer has no digest"))
}

async fn pull(docker: &Docker, reference: &Reference) -> Result<(), Error> {
    let tried = format!("pull {}", reference.repository);
    let digest = reference.digest.clone().unwrap_or_default();
    let options = CreateImageOptionsBuilder::new().from_image(&reference.repository).tag(&digest).build();
    let credentials = credentials(reference).await?;
    let mut progress = std::pin::pin!(docker.create_image(Some(options), None, credentials));
    loop {
        match tokio::time::timeout(STALLED, progress.next()).await {
            Ok(None) => return Ok(()),
            Ok(Some(Ok(info))) => {
                if let Some(message) = info.error_detail.and_then(|detail| detail.message) {
                    return Err(explain(Error::later(tried, message), None, reference));
                }
            }
            Ok(Some(Err(error))) => return Err(explain(failed(tried, &error), status(&error), reference)),
            Err(_) => {
                let happened = format!("nothing came for {} s", STALLED.as_secs());
                return Err(Error::later(tried, happened).hint("see that this machine reaches the registry"));
            }
        }
    }
}

/// What to do about a registry that does not give an image.
fn explain(error: Error, status: Option<u16>, reference: &Reference) -> Error {
    if !error.hint.is_empty() {
        return error;
    }
    let text = error.happened.to_lowercase();
    let denied = matches!(status, Some(401 | 403))
        || ["unauthorized", "denied", "credentials"].iter().any(|word| text.contains(word));
    let unreachable =
        ["no such host", "connection refused", "timeout", "deadline", "i/o"].iter().any(|word| text.contains(word));
    let lied = text.contains("verification failed") || text.contains("digest mismatch");
    if lied {
        error.hint(
            "the registry sent another image than it named: nothing was run; see what stands between it and the engine",
        )
    } else if denied {
        let login = if reference.server() == HUB { String::new() } else { format!(" {}", reference.server()) };
        error.hint(format!(
            "log in as the user that runs davy: `docker login{login}`; or build the image on this engine"
        ))
    } else if unreachable {
        error.hint("see that the engine reaches the registry; an image built on this engine needs none")
    } else {
        error.hint("see that the name and the tag are right and that it was pushed, or built on this engine")
    }
}

/// What `docker login` left for the registry, if anything.
async fn credentials(reference: &Reference) -> Result<Option<DockerCredentials>, Error> {
    let server = reference.server().to_owned();
    let wanted = server.clone();
    let found = tokio::task::spawn_blocking(move || docker_credential::get_credential(&wanted)).await;
    let tried = format!("read the credentials for {server}");
    let address = Some(server);
    match found.map_err(|error| Error::later(&tried, error))? {
        Ok(DockerCredential::IdentityToken(token)) => {
            Ok(Some(DockerCredentials { identitytoken: Some(token), serveraddress: address, ..Default::default() }))
        }
        Ok(DockerCredential::UsernamePassword(username, password)) => Ok(Some(DockerCredentials {
            username: Some(username),
            password: Some(password),
            serveraddress: address,
            ..Default::default()
        })),
        Err(CredentialRetrievalError::HelperFailure { helper, stdout, .. }) => {
            if stdout.contains("credentials not found") {
                return Ok(None);
            }
            // What it printed may hold what nobody is to see.
            let happened = format!("the credential helper {helper} failed");
            Err(Error::later(tried, happened).hint("run `docker login` again as the user that runs davy"))
        }
        Err(CredentialRetrievalError::HelperCommunicationError) => {
            Err(Error::later(tried, "the credential helper cannot be run")
                .hint("see that the helper named in Docker's configuration file is in PATH"))
        }
        // No file, or nothing in it for this registry.
        Err(_) => Ok(None),
    }
}

/// Which images a service has used, the newest last; on disk.
#[derive(Clone, Debug)]
pub(crate) struct Used {
    folder: PathBuf,
}

impl Used {
    pub(crate) fn open(folder: PathBuf) -> Result<Self, Error> {
        disk::make(&folder).map_err(|error| disk::io_error("open the list of images", &folder, &error))?;
        Ok(Self { folder })
    }

    fn path(&self, key: &ServiceKey) -> PathBuf {
        self.folder.join(format!("{}~{}", key.environment, key.service))
    }

    fn read(&self, path: &Path) -> Result<Vec<String>, Error> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(disk::io_error("read the list of images", path, &error)),
        }
    }

    fn write(&self, path: &Path, list: &[String]) -> Result<(), Error> {
        let written = disk::write(path, list.join("\n").as_bytes());
        written.map_err(|error| disk::io_error("write the list of images", path, &error))
    }

    /// Notes that a service uses an image now.
    pub(crate) fn note(&self, key: &ServiceKey, digest: &Digest) -> Result<(), Error> {
        let path = self.path(key);
        let mut list = self.read(&path)?;
        list.retain(|known| known != digest.as_str());
        list.push(digest.as_str().to_owned());
        self.write(&path, &list)
    }

    /// Takes what a service needs no more off its list; gives what no service's list has.
    fn forget(&self, key: &ServiceKey, running: &HashSet<String>) -> Result<Vec<String>, Error> {
        let path = self.path(key);
        let mut list = self.read(&path)?;
        let old = list.len().saturating_sub(KEPT);
        let mut gone: Vec<String> = list.drain(..old).collect();
        list.splice(0..0, gone.extract_if(.., |digest| running.contains(digest)));
        self.write(&path, &list)?;
        let entries = fs::read_dir(&self.folder)
            .map_err(|error| disk::io_error("read the lists of images", &self.folder, &error))?;
        for entry in entries.flatten() {
            let kept = self.read(&entry.path())?;
            gone.retain(|digest| !kept.contains(digest));
        }
        Ok(gone)
    }
}

/// Removes images that no service runs or may go back to. Those that were built on the engine are not ours to remove.
pub(crate) async fn prune(
    docker: &Docker,
    used: &Used,
    key: &ServiceKey,
    running: &HashSet<String>,
) -> Result<(), Error> {
    let (used, key, running) = (used.clone(), key.clone(), running.clone());
    for digest in blocking(move || used.forget(&key, &running)).await? {
        if !digest.contains('@') {
            continue;
        }
        let options = RemoveImageOptionsBuilder::new().build();
        match docker.remove_image(&digest, Some(options), None).await {
            Ok(_) => {}
            // Gone already, or used by a container that is not ours.
            Err(error) if matches!(status(&error), Some(404 | 409)) => {}
            Err(error) => return Err(failed(format!("remove the image {digest}"), &error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Reference;

    #[test]
    fn names_are_taken_apart() {
        let cases = [
            ("logo", "logo", "latest", None, super::HUB),
            ("logo:2.0", "logo", "2.0", None, super::HUB),
            ("shop/logo:2.0", "shop/logo", "2.0", None, super::HUB),
            ("127.0.0.1:5000/logo", "127.0.0.1:5000/logo", "latest", None, "127.0.0.1:5000"),
            ("localhost/logo:1", "localhost/logo", "1", None, "localhost"),
            ("r.example.com/a/b:1@sha256:ab", "r.example.com/a/b", "1", Some("sha256:ab"), "r.example.com"),
        ];
        for (name, repository, tag, digest, server) in cases {
            let reference = Reference::parse(name);
            assert_eq!((reference.repository.as_str(), reference.tag.as_str()), (repository, tag));
            assert_eq!((reference.digest.as_deref(), reference.server()), (digest, server));
        }
        assert!(Reference::parse("docker.io/library/logo:1").owns("logo@sha256:ab"));
        assert!(!Reference::parse("logo:1").owns("r.example.com/logo@sha256:ab"));
    }
}
