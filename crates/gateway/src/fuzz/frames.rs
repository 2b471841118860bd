//! The control socket's frames.

use crate::{
    frame::{self, Answer, Request},
    handed::{Counted, Follow},
};
use futures_util::FutureExt;
use serde::{Serialize, de::DeserializeOwned};

/// Reads a frame as whatever either side may expect. What begins with the length's first byte, which is 0, is taken as it stands;
/// anything else is a frame's text without its length. What is read is read again from what is written of it.
pub fn frames(bytes: &[u8]) {
    let whole = match bytes.first() {
        None | Some(0) => bytes.to_vec(),
        Some(_) => {
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            [&length.to_be_bytes(), bytes].concat()
        }
    };
    again::<Request>(&whole);
    again::<Answer>(&whole);
    again::<Follow>(&whole);
    again::<Counted>(&whole);
}

fn read<T: DeserializeOwned>(mut bytes: &[u8]) -> Option<T> {
    // Nothing has to be waited for in memory.
    frame::read(&mut bytes).now_or_never()?.ok()
}

fn again<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let Some(body) = read::<T>(bytes) else { return };
    let mut written = Vec::new();
    let done = frame::write(&mut written, &body).now_or_never();
    assert!(matches!(done, Some(Ok(()))), "what was read can be written");
    let Some(again) = read::<T>(&written) else { panic!("what was written cannot be read") };
    let told = |body: &T| serde_json::to_value(body).ok();
    assert_eq!(told(&body), told(&again), "a frame is read as it was written");
}
