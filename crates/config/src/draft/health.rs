//! Health checks that are one HTTP request, found in the words of `curl` and `wget`.

/// A request to the container itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub path: String,
    /// The port, if it is written.
    pub port: Option<u16>,
}

/// The request that a command makes, if it does nothing but ask and fail.
pub(super) fn request(command: &str) -> Option<Request> {
    let command = command.trim();
    let asked = ["|| exit 1", "|| exit", "|| false", "||exit 1"].iter().find_map(|end| command.strip_suffix(end));
    let asked = asked.unwrap_or(command).trim();
    let words = crate::words::split(asked).ok()?;
    let program = words.first()?.rsplit('/').next()?.to_owned();
    // Another check of the answer, or another method, is more than Davy asks.
    let more = ["|", ";", "`", "$(", "-d", "--data", "-X", "--request", "--post-data", "-H", "--header"];
    let does_more = words.iter().skip(1).any(|word| more.contains(&word.as_str()) || word.starts_with("--post"));
    if !["curl", "wget"].contains(&program.as_str()) || does_more || asked.contains(['|', ';', '`']) {
        return None;
    }
    words.iter().skip(1).filter(|word| !word.starts_with('-')).find_map(|word| own(word))
}

/// The path and port of an address that is the container's own.
fn own(word: &str) -> Option<Request> {
    let rest = match word.split_once("://") {
        Some(("http", rest)) => rest,
        Some(_) => return None,
        None => word,
    };
    let (authority, path) = match rest.find(['/', '?']) {
        Some(at) if rest[at..].starts_with('/') => (&rest[..at], rest[at..].to_owned()),
        Some(at) => (&rest[..at], format!("/{}", &rest[at..])),
        None => (rest, "/".to_owned()),
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port.parse().ok()?)),
        _ => (authority, None),
    };
    let path = path.split('#').next().unwrap_or_default().to_owned();
    ["localhost", "127.0.0.1", "0.0.0.0", "[::1]"].contains(&host).then_some(Request { path, port })
}

#[cfg(test)]
mod tests {
    use super::{Request, request};

    #[test]
    fn a_request_is_found_and_more_than_one_is_not_guessed() {
        let is = |path: &str, port| Some(Request { path: path.to_owned(), port });
        for (command, expected) in [
            ("curl -f http://localhost:8080/healthz || exit 1", is("/healthz", Some(8080))),
            ("/usr/bin/curl --fail --silent 'http://127.0.0.1/ready?x=1'", is("/ready?x=1", None)),
            ("wget -qO- localhost:3000/ping", is("/ping", Some(3000))),
            ("wget --spider http://[::1]:80", is("/", Some(80))),
            ("curl -f https://localhost/healthz", None),
            ("curl -f http://db:5432/", None),
            ("curl -s http://localhost/ | grep ok", None),
            ("curl -X POST http://localhost/", None),
            ("pg_isready -U shop", None),
            ("", None),
        ] {
            assert_eq!(request(command), expected, "{command}");
        }
    }
}
