//! A reader of HTTP/1.1 that takes nothing which another might read in another way.

/// A request as it reads it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) heads: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Reads whole requests as strictly as can be; an error is what two readers could see in two ways.
pub(crate) fn requests(mut bytes: &[u8]) -> Result<Vec<Asked>, String> {
    let mut all = Vec::new();
    while let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
        // Bytes that are no ASCII mean nothing to anybody (RFC 9110 §5.5).
        let head: String = bytes[..end].iter().copied().map(char::from).collect();
        bytes = &bytes[end + 4..];
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let heads = lines.map(|line| {
            let (name, value) = line.split_once(':').ok_or("no colon")?;
            let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            if name.is_empty() || !name.chars().all(is_token) {
                return Err(format!("the name {name:?}"));
            }
            if value.chars().any(|c| c.is_ascii_control() && c != '\t') {
                return Err(format!("the value {value:?}"));
            }
            Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
        });
        let heads = heads.collect::<Result<Vec<_>, String>>()?;
        let of =
            |name: &'static str| heads.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str());
        let (lengths, codings): (Vec<_>, Vec<_>) = (of("content-length").collect(), of("transfer-encoding").collect());
        if of("host").count() != 1 || !line.ends_with(" HTTP/1.1") || line.split(' ').count() != 3 {
            return Err(format!("the head {head:?}"));
        }
        let mut body = Vec::new();
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => {}
            ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                let length: usize = length.parse().map_err(|_| "a long length")?;
                if bytes.len() < length {
                    break;
                }
                body.extend_from_slice(&bytes[..length]);
                bytes = &bytes[length..];
            }
            ([], ["chunked"]) => loop {
                let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else { return Ok(all) };
                let size = std::str::from_utf8(&bytes[..end]).map_err(|_| "no text")?;
                if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err(format!("the chunk size {size:?}"));
                }
                let size = usize::from_str_radix(size, 16).map_err(|_| "a long chunk")?;
                if bytes.len() < size.saturating_add(end + 4) {
                    return Ok(all);
                }
                if &bytes[end + 2 + size..end + 4 + size] != b"\r\n" {
                    return Err("a chunk that goes on".to_owned());
                }
                body.extend_from_slice(&bytes[end + 2..end + 2 + size]);
                bytes = &bytes[end + 4 + size..];
                if size == 0 {
                    break;
                }
            },
            other => return Err(format!("the framing {other:?}")),
        }
        all.push(Asked { line, heads, body });
    }
    Ok(all)
}
