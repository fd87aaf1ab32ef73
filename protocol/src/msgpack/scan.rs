//! Walks msgpack headers without building values, so that limits hold before anything is allocated.

use super::cursor::Cursor;
use crate::{
    error::DecodeError,
    limits::{MAX_MSGPACK_DEPTH, MAX_MSGPACK_VALUES},
};

/// Checks that `bytes` are exactly one well-formed value within the limits of depth and number.
pub(super) fn check(bytes: &[u8], what: &'static str) -> Result<(), DecodeError> {
    let mut cursor = Cursor::new(bytes);
    // For every open container: how many of its values are still to come.
    let mut open = vec![1_usize];
    let mut values = 0_usize;
    while let Some(left) = open.last_mut() {
        let Some(fewer) = left.checked_sub(1) else {
            open.pop();
            continue;
        };
        *left = fewer;
        values = values.saturating_add(1);
        DecodeError::check_len("msgpack values", values, MAX_MSGPACK_VALUES)?;
        let children = cursor.skip_header().ok_or_else(|| truncated(what))?;
        // Each child takes a byte at least, so a larger claim cannot come true.
        if children > cursor.left() {
            return Err(truncated(what));
        }
        if children > 0 {
            DecodeError::check_len("msgpack depth", open.len(), MAX_MSGPACK_DEPTH)?;
            open.push(children);
        }
    }
    if cursor.is_empty() {
        return Ok(());
    }
    Err(DecodeError::malformed(
        what,
        "bytes after the msgpack value",
    ))
}

fn truncated(what: &'static str) -> DecodeError {
    DecodeError::malformed(
        what,
        "ends inside a msgpack value, or has the reserved byte c1",
    )
}
