//! Secrets of containers: variables, and files that are put into a container before it starts.
//!
//! The engine starts a container again by itself, also after the machine was: so the files are the container's own, and
//! not a mount of something that the server keeps. They go with it.

use crate::engine::failed;
use bollard::{Docker, body_full, models::ImageInspect, query_parameters::UploadToContainerOptionsBuilder};
use davy_core::Container;
use davy_place::Given;
use davy_ports::Error;

/// Where the files are, as seen from inside.
const FOLDER: &str = "/run/secrets";

/// The variables, with those that name the files. What is no text was refused when it was deployed.
pub(crate) fn variables(given: &Given) -> impl Iterator<Item = String> {
    let values =
        given.variables.iter().map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value.bytes())));
    values.chain(given.paths(FOLDER).into_iter().map(|(name, path)| format!("{name}={path}")))
}

/// Who may read them: the container's user if he is known by number, else everybody in the container.
fn owner(container: &Container, image: &ImageInspect) -> Option<(u64, u64)> {
    let of_image = image.config.as_ref().and_then(|config| config.user.clone());
    let user = container.user.clone().or(of_image).unwrap_or_default();
    let (user, group) = user.split_once(':').unwrap_or((user.as_str(), ""));
    let number = |name: &str| match name {
        "" | "root" => Some(0),
        name => name.parse().ok(),
    };
    Some((number(user)?, number(group).unwrap_or_default()))
}

/// Puts the files into a container that was made and not started.
pub(crate) async fn upload(
    docker: &Docker,
    id: &str,
    container: &Container,
    image: &ImageInspect,
    given: &Given,
) -> Result<(), Error> {
    if given.files.is_empty() {
        return Ok(());
    }
    let tried = "put the secrets into the container";
    let mut archive = tar::Builder::new(Vec::new());
    for (name, value) in &given.files {
        let mut header = tar::Header::new_gnu();
        header.set_size(value.bytes().len() as u64);
        header.set_mode(0o444);
        if let Some((user, group)) = owner(container, image) {
            header.set_mode(0o400);
            header.set_uid(user);
            header.set_gid(group);
        }
        let path = format!("{}/{name}", FOLDER.trim_start_matches('/'));
        archive.append_data(&mut header, path, value.bytes()).map_err(|error| Error::later(tried, error))?;
    }
    let archive = archive.into_inner().map_err(|error| Error::later(tried, error))?;
    let options = UploadToContainerOptionsBuilder::new().path("/").build();
    let put = docker.upload_to_container(id, Some(options), body_full(archive.into())).await;
    put.map_err(|error| failed(tried, &error))
}
