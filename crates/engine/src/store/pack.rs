//! How the events of a rollout are packed: a byte that says how, then, deflated, two lines for each event: its numbers and who caused
//! it, and the event as it was stored, byte for byte. Their hashes are not kept: they are computed again.

use miniz_oxide::{deflate::compress_to_vec_zlib, inflate::decompress_to_vec_zlib_with_limit};

const FORMAT: u8 = 1;
/// Beyond it more time gains little.
const LEVEL: u8 = 8;
/// No rollout has so many events: what is longer is none of ours.
const LARGEST: usize = 64 << 20;

/// One event as it is stored, but for its stream, its rollout and its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    pub(super) sequence: u64,
    pub(super) position: u64,
    pub(super) at: u64,
    pub(super) by: String,
    pub(super) event: String,
}

/// Packs events; none when they could not be read again.
pub(super) fn pack(events: &[Packed]) -> Option<Vec<u8>> {
    let mut text = String::new();
    for Packed { sequence, position, at, by, event } in events {
        text.push_str(&serde_json::to_string(&(sequence, position, at, by)).ok()?);
        text.push('\n');
        text.push_str(event);
        text.push('\n');
    }
    if text.len() > LARGEST {
        return None;
    }
    let mut bytes = vec![FORMAT];
    bytes.extend(compress_to_vec_zlib(text.as_bytes(), LEVEL));
    (unpack(&bytes).ok()?.as_slice() == events).then_some(bytes)
}

/// What was packed, or why it cannot be read.
pub(super) fn unpack(bytes: &[u8]) -> Result<Vec<Packed>, String> {
    let Some((&FORMAT, bytes)) = bytes.split_first() else {
        return Err("it was packed by another version, or changed".to_owned());
    };
    let text = decompress_to_vec_zlib_with_limit(bytes, LARGEST).map_err(|error| format!("it was changed: {error}"))?;
    let text = String::from_utf8(text).map_err(|error| format!("it was changed: {error}"))?;
    let (mut lines, mut events) = (text.lines(), Vec::new());
    while let Some(numbers) = lines.next() {
        let (sequence, position, at, by) =
            serde_json::from_str(numbers).map_err(|error| format!("an event in it cannot be read: {error}"))?;
        let event = lines.next().ok_or("it ends within an event")?.to_owned();
        events.push(Packed { sequence, position, at, by, event });
    }
    Ok(events)
}

/// Whatever can be read of bytes, as they are stored or as what is packed in them, is packed again and read as the same.
///
/// # Panics
/// When it is not.
#[cfg(feature = "fuzz")]
pub(crate) fn read_and_packed_again(bytes: &[u8]) {
    let mut stored = vec![FORMAT];
    stored.extend(compress_to_vec_zlib(bytes, 1));
    for bytes in [bytes, &stored] {
        let Ok(events) = unpack(bytes) else { continue };
        assert_eq!(runs(&events).flatten().count(), events.len(), "each is in one run");
        if let Some(packed) = pack(&events) {
            assert_eq!(unpack(&packed).as_deref(), Ok(&events[..]), "they are read as they were packed");
        }
    }
}

/// Those that follow one another.
pub(super) fn runs(events: &[Packed]) -> impl Iterator<Item = &[Packed]> {
    events.chunk_by(|one, next| next.position.checked_sub(1) == Some(one.position))
}

#[cfg(test)]
mod tests {
    use super::{LARGEST, Packed, pack, runs, unpack};

    fn event(position: u64, event: &str) -> Packed {
        Packed { sequence: position * 3, position, at: u64::MAX, by: "jo \"|\n".to_owned(), event: event.to_owned() }
    }

    #[test]
    fn what_is_packed_is_read_again_byte_for_byte_or_not_packed() {
        let events = [event(2, "{\"type\":\"promoted\"}"), event(3, ""), event(7, "\u{1f41d} \t\\n")];
        let bytes = pack(&events).expect("it can be read again");
        assert_eq!(unpack(&bytes).as_deref(), Ok(&events[..]));
        assert_eq!(pack(&events), Some(bytes), "the same events are the same bytes");
        for lost in ["two\nlines", "ends\n", "ends\r"] {
            assert_eq!(pack(&[event(1, lost)]), None, "{lost:?}");
        }
        assert_eq!(pack(&[event(1, &"x".repeat(LARGEST))]), None, "nor what nobody would read again");
        let lengths: Vec<usize> = runs(&events).map(<[Packed]>::len).collect();
        assert_eq!(lengths, [2, 1]);
    }

    #[test]
    fn a_changed_byte_or_a_missing_end_is_an_error_or_shows() {
        let events = [event(2, "{\"type\":\"promoted\"}"), event(3, "{}")];
        let bytes = pack(&events).expect("it can be read again");
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_ne!(unpack(&changed).as_deref(), Ok(&events[..]), "byte {at}");
            assert!(unpack(&bytes[..at]).is_err(), "ended at {at}");
        }
    }
}
