//! Puts the built page (`ui/dist`, whatever files it holds) into the library, each file compressed once and named by what it holds.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{self, Error},
    path::{Path, PathBuf},
};

/// The best that the format can do: it is done once, and read by everybody.
const LEVEL: u8 = 10;

fn main() -> io::Result<()> {
    let variable = |name: &str| env::var_os(name).map(PathBuf::from).ok_or_else(|| Error::other(name.to_owned()));
    let dist = variable("CARGO_MANIFEST_DIR")?.join("../../ui/dist");
    let out = variable("OUT_DIR")?;
    println!("cargo::rerun-if-changed={}", dist.display());
    let mut files = Vec::new();
    gather(&dist, &mut files)?;
    files.sort();
    let mut list = String::from("&[\n");
    for (number, file) in files.iter().enumerate() {
        println!("cargo::rerun-if-changed={}", file.display());
        let bytes = fs::read(file)?;
        let checksum = checksum(&bytes);
        let packed = out.join(format!("{number}.gz"));
        fs::write(&packed, gzip(&bytes, checksum))?;
        let path = file.strip_prefix(&dist).map_err(Error::other)?;
        let path = path.to_str().ok_or_else(|| Error::other("a file of the page has a name that is not UTF-8"))?;
        let (path, packed) = (format!("/{path}"), packed.display().to_string());
        let tag = format!("\"{checksum:08x}{:x}\"", bytes.len());
        // Writing into a string cannot fail.
        let _ = writeln!(
            list,
            "    Asset {{ path: {path:?}, kind: {:?}, tag: {tag:?}, packed: include_bytes!({packed:?}) }},",
            kind(&path)
        );
    }
    list.push(']');
    fs::write(out.join("assets.rs"), list)
}

/// Every file of a folder and of those in it; none when it is not there.
fn gather(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { gather(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

fn kind(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// A file of gzip (RFC 1952).
fn gzip(bytes: &[u8], checksum: u32) -> Vec<u8> {
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255];
    packed.extend(miniz_oxide::deflate::compress_to_vec(bytes, LEVEL));
    packed.extend(checksum.to_le_bytes());
    packed.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    packed
}

/// CRC-32 as gzip has it.
fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(sum & 1));
        }
    }
    !sum
}
