//! Images: named by digest, pulled by digest, and which of them a rollback may still need.

use crate::{
    engaged::blocking,
    engine::{failed, is_absent, status},
    pull::Pulls,
};
use bollard::{Docker, auth::DockerCredentials, models::ImageInspect, query_parameters::RemoveImageOptionsBuilder};
use davy_core::{Digest, ServiceKey};
use davy_place::disk;
use davy_ports::Error;
use docker_credential::{CredentialRetrievalError, DockerCredential};
use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// The longest wait for a registry's word about an image.
const ASKED: Duration = Duration::from_secs(20);
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

    /// The registry, as people name it.
    fn registry(&self) -> &str {
        match self.server() {
            HUB => "docker.io",
            server => server,
        }
    }

    /// The registry, as `docker login` names it.
    fn server(&self) -> &str {
        match self.repository.split_once('/') {
            // The Hub's credentials have one name, however it is written.
            Some(("docker.io" | "index.docker.io" | "registry-1.docker.io", _)) => HUB,
            Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
            _ => HUB,
        }
    }

    /// Whether a name that the engine gives a repository is this one's.
    fn is(&self, repository: &str) -> bool {
        fn short(name: &str) -> &str {
            let name = name.strip_prefix("docker.io/").unwrap_or(name);
            name.strip_prefix("library/").unwrap_or(name)
        }
        short(&self.repository) == short(repository)
    }
}

/// An image that is there, and the name that it will always have.
pub(crate) struct Known {
    pub digest: Digest,
    pub image: ImageInspect,
    /// What whoever asked should know.
    pub notice: Option<String>,
}

/// Where the image comes from that the engine has under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The registry gave it, or was given it.
    Registry,
    /// It was built on this engine, or loaded into it.
    Engine,
    /// The engine does not tell.
    Untold,
}

impl Origin {
    fn of(image: &ImageInspect, reference: &Reference) -> Self {
        if let Some(identity) = &image.identity {
            let mut pulled = identity.pull.iter().flatten().filter_map(|pull| pull.repository.as_deref());
            if pulled.any(|repository| reference.is(repository)) {
                return Self::Registry;
            }
            if identity.build.as_ref().is_some_and(|built| !built.is_empty()) {
                return Self::Engine;
            }
        }
        let known = image.repo_digests.iter().flatten().filter_map(|known| known.split_once('@'));
        let known: Vec<&str> = known.filter(|(name, _)| reference.is(name)).map(|(_, digest)| digest).collect();
        match known.iter().any(|digest| Some(*digest) != image.id.as_deref()) {
            _ if known.is_empty() => Self::Engine,
            true => Self::Registry,
            // containerd's store names each image by its own digest, under each of its names, wherever it comes from.
            false => Self::Untold,
        }
    }
}

/// Finds out what a name means now, and sees to it that it is on the engine.
pub(crate) async fn resolve(docker: &Docker, pulls: &Pulls, key: &ServiceKey, name: &str) -> Result<Known, Error> {
    let tried = format!("find the image {name}");
    let reference = Reference::parse(name);
    let here = match &reference.digest {
        None => inspect(docker, name, &tried).await?.map(|image| (Origin::of(&image, &reference), image)),
        Some(_) => None,
    };
    let own = |image: ImageInspect, notice| {
        let digest = Digest::new(image.id.clone().unwrap_or_default());
        Ok(Known { digest, image, notice })
    };
    let digest = match (here, &reference.digest) {
        (Some((Origin::Engine, image)), _) => return own(image, None),
        (_, Some(digest)) => digest.clone(),
        (here, None) => match (asked(docker, &reference, &tried).await, here) {
            (Err(Refused { lacks: true, .. }), Some((Origin::Untold, image))) => {
                let notice = format!(
                    "{} has no image {name} for you: the one that is on the engine is used",
                    reference.registry()
                );
                return own(image, Some(notice));
            }
            (answer, _) => answer.map_err(|refused| refused.error)?,
        },
    };
    let digest = Digest::new(format!("{}@{digest}", reference.repository));
    let image = present(docker, pulls, key, name, &digest).await?;
    Ok(Known { digest, image, notice: None })
}

/// What a name means now, without fetching anything: the image, where it is on the engine, and what there is to say of it.
pub(crate) async fn glance(docker: &Docker, name: &str) -> Result<(Option<ImageInspect>, String), Error> {
    let tried = format!("find the image {name}");
    let reference = Reference::parse(name);
    let there = inspect(docker, name, &tried).await?;
    let origin = there.as_ref().map(|image| Origin::of(image, &reference));
    let kept = || there.as_ref().and_then(|image| image.id.clone()).unwrap_or_default();
    match (origin, &reference.digest) {
        (Some(Origin::Engine), _) => return Ok((there, "it was built on this engine".to_owned())),
        (Some(_), Some(_)) => return Ok((there, "it is on the engine".to_owned())),
        _ => {}
    }
    match (asked(docker, &reference, &tried).await, origin) {
        (Ok(digest), None) => Ok((None, format!("{} has it as {digest}; a deployment pulls it", reference.registry()))),
        (Ok(digest), Some(_)) => Ok((there, format!("{} has it as {digest}", reference.registry()))),
        (Err(Refused { lacks: true, .. }), Some(Origin::Untold)) => {
            let says = format!("{} has none for you: {} on the engine is used", reference.registry(), kept());
            Ok((there, says))
        }
        (Err(refused), _) => Err(refused.error),
    }
}

/// The image of a digest, if it is there.
pub(crate) async fn here(docker: &Docker, digest: &Digest) -> Result<Option<ImageInspect>, Error> {
    inspect(docker, digest.as_str(), &format!("find the image {digest}")).await
}

/// The image of a digest, which a service calls `called`: the one that is there, else pulled.
pub(crate) async fn present(
    docker: &Docker,
    pulls: &Pulls,
    key: &ServiceKey,
    called: &str,
    digest: &Digest,
) -> Result<ImageInspect, Error> {
    let tried = || format!("find the image {digest}");
    if let Some(image) = here(docker, digest).await? {
        return Ok(image);
    }
    if !digest.as_str().contains('@') {
        let happened = "it was built on this engine and is there no more";
        return Err(Error::never(tried(), happened).hint("build it again, and deploy it"));
    }
    pulls.fetch(docker, key, called, digest).await?;
    let there = here(docker, digest).await?;
    there.ok_or_else(|| Error::later(tried(), "it was pulled, and the engine does not know it"))
}

async fn inspect(docker: &Docker, name: &str, tried: &str) -> Result<Option<ImageInspect>, Error> {
    match docker.inspect_image(name).await {
        Ok(image) => Ok(Some(image)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(failed(tried, &error)),
    }
}

/// What a registry answers that does not tell a digest.
struct Refused {
    error: Error,
    /// Whether it says that it has no such image.
    lacks: bool,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { error, lacks: false }
    }
}

/// Asks the registry which digest a tag stands for.
async fn asked(docker: &Docker, reference: &Reference, tried: &str) -> Result<String, Refused> {
    let name = format!("{}:{}", reference.repository, reference.tag);
    let credentials = credentials(reference).await?;
    let asking = docker.inspect_registry_image(&name, credentials);
    let answer = match tokio::time::timeout(ASKED, asking).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            let status = status(&error);
            let error = failed(tried, &error);
            let lacks = lacks(&error, status, reference);
            return Err(Refused { error: explain(error, status, reference), lacks });
        }
        Err(_) => {
            let happened = format!("the registry did not answer within {} s", ASKED.as_secs());
            return Err(Error::later(tried, happened).hint("see that this machine reaches it, and try again").into());
        }
    };
    let digest = answer.descriptor.digest;
    digest.ok_or_else(|| Error::later(tried, "the registry's answer has no digest").into())
}

/// Whether a registry says that it has no such image. The Hub says that it is denied, whoever asks.
fn lacks(error: &Error, status: Option<u16>, reference: &Reference) -> bool {
    let text = error.happened.to_lowercase();
    let unknown = ["manifest unknown", "name unknown", "not found"].iter().any(|words| text.contains(words));
    let denied = ["denied", "unauthorized"].iter().any(|word| text.contains(word));
    status.is_some() && !text.contains("no such host") && (unknown || denied && reference.server() == HUB)
}

/// What to do about a registry that does not give an image.
pub(crate) fn explain(error: Error, status: Option<u16>, reference: &Reference) -> Error {
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
pub(crate) async fn credentials(reference: &Reference) -> Result<Option<DockerCredentials>, Error> {
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

/// Which images were fetched for a service and may be there still; on disk.
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

    /// Notes that an image was fetched for a service.
    pub(crate) fn note(&self, key: &ServiceKey, digest: &Digest) -> Result<(), Error> {
        let path = self.path(key);
        let mut list = self.read(&path)?;
        list.retain(|known| known != digest.as_str());
        list.push(digest.as_str().to_owned());
        self.write(&path, &list)
    }

    /// What a service's list has and nobody needs.
    fn unneeded(&self, key: &ServiceKey, needed: &HashSet<String>) -> Result<Vec<String>, Error> {
        let own = self.path(key);
        let mut gone = self.read(&own)?;
        gone.retain(|digest| !needed.contains(digest));
        Ok(gone)
    }

    /// Whether another service's list has it.
    fn shared(&self, key: &ServiceKey, digest: &str) -> Result<bool, Error> {
        let (own, failed) = (self.path(key), |error| disk::io_error("read the lists of images", &self.folder, &error));
        for entry in fs::read_dir(&self.folder).map_err(failed)?.flatten().filter(|entry| entry.path() != own) {
            if self.read(&entry.path())?.iter().any(|known| known == digest) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes what is gone off a service's list.
    fn forget(&self, key: &ServiceKey, gone: &HashSet<String>) -> Result<(), Error> {
        let path = self.path(key);
        let mut list = self.read(&path)?;
        list.retain(|digest| !gone.contains(digest));
        self.write(&path, &list)
    }
}

/// Removes images of a service that nobody needs. Those that were built on the engine are not ours to remove. What cannot be
/// removed stays on the list, for the next time.
pub(crate) async fn prune(
    docker: &Docker,
    used: &Used,
    key: &ServiceKey,
    needed: HashSet<String>,
) -> Result<(), Error> {
    let (lists, of) = (used.clone(), key.clone());
    let unneeded = blocking(move || {
        let all = lists.unneeded(&of, &needed)?;
        all.into_iter().map(|digest| Ok((lists.shared(&of, &digest)?, digest))).collect::<Result<Vec<_>, Error>>()
    });
    let (mut gone, mut failure) = (HashSet::new(), None);
    for (shared, digest) in unneeded.await? {
        if digest.contains('@') && !shared {
            match docker.remove_image(&digest, Some(RemoveImageOptionsBuilder::new().build()), None).await {
                Ok(_) => {}
                Err(error) if is_absent(&error) => {}
                // A container that is not ours uses it.
                Err(error) if status(&error) == Some(409) => continue,
                Err(error) => {
                    failure.get_or_insert(failed(format!("remove the image {digest}"), &error));
                    continue;
                }
            }
        }
        gone.insert(digest);
    }
    let (lists, of) = (used.clone(), key.clone());
    blocking(move || lists.forget(&of, &gone)).await?;
    failure.map_or(Ok(()), Err)
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
            ("docker.io/shop/logo:2.0", "docker.io/shop/logo", "2.0", None, super::HUB),
            ("index.docker.io/shop/logo", "index.docker.io/shop/logo", "latest", None, super::HUB),
            ("r.example.com/a/b:1@sha256:ab", "r.example.com/a/b", "1", Some("sha256:ab"), "r.example.com"),
        ];
        for (name, repository, tag, digest, server) in cases {
            let reference = Reference::parse(name);
            assert_eq!((reference.repository.as_str(), reference.tag.as_str()), (repository, tag));
            assert_eq!((reference.digest.as_deref(), reference.server()), (digest, server));
        }
        assert!(Reference::parse("docker.io/library/logo:1").is("logo"));
        assert!(Reference::parse("logo:1").is("docker.io/library/logo"));
        assert!(!Reference::parse("logo:1").is("r.example.com/logo"));
    }
}
