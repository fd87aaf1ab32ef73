//! Walks msgpack headers without building values, so that limits hold before anything is allocated.

use crate::{
    error::DecodeError,
    limits::{MAX_MSGPACK_DEPTH, MAX_MSGPACK_VALUES},
};

/// Checks that `bytes` are exactly one well-formed value within the limits of depth and number.
pub(super) fn check(bytes: &[u8], what: &'static str) -> Result<(), DecodeError> {
    let mut scanner = Scanner { rest: bytes, what };
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
        let children = scanner.header()?;
        // Each child takes a byte at least, so a larger claim cannot come true.
        if children > scanner.rest.len() {
            return Err(scanner.truncated());
        }
        if children > 0 {
            DecodeError::check_len("msgpack depth", open.len(), MAX_MSGPACK_DEPTH)?;
            open.push(children);
        }
    }
    if scanner.rest.is_empty() {
        return Ok(());
    }
    Err(DecodeError::malformed(
        what,
        "bytes after the msgpack value",
    ))
}

struct Scanner<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl Scanner<'_> {
    /// Skips one header and, for a scalar, its body. Returns how many values follow inside it.
    fn header(&mut self) -> Result<usize, DecodeError> {
        let (&marker, rest) = self.rest.split_first().ok_or_else(|| self.truncated())?;
        self.rest = rest;
        let skip = match marker {
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => 0,
            0x80..=0x8f => return Ok(usize::from(marker & 0x0f).saturating_mul(2)),
            0x90..=0x9f => return Ok(usize::from(marker & 0x0f)),
            0xa0..=0xbf => usize::from(marker & 0x1f),
            0xc1 => {
                return Err(DecodeError::malformed(
                    self.what,
                    "reserved msgpack byte c1",
                ));
            }
            0xc4 | 0xd9 => self.length(1)?,
            0xc5 | 0xda => self.length(2)?,
            0xc6 | 0xdb => self.length(4)?,
            0xc7 => self.length(1)?.saturating_add(1),
            0xc8 => self.length(2)?.saturating_add(1),
            0xc9 => self.length(4)?.saturating_add(1),
            0xcc | 0xd0 => 1,
            0xcd | 0xd1 | 0xd4 => 2,
            0xd5 => 3,
            0xca | 0xce | 0xd2 => 4,
            0xd6 => 5,
            0xcb | 0xcf | 0xd3 => 8,
            0xd7 => 9,
            0xd8 => 17,
            0xdc => return self.length(2),
            0xdd => return self.length(4),
            0xde => return Ok(self.length(2)?.saturating_mul(2)),
            0xdf => return Ok(self.length(4)?.saturating_mul(2)),
        };
        self.rest = self.rest.get(skip..).ok_or_else(|| self.truncated())?;
        Ok(0)
    }

    /// Reads a big-endian length of `width` bytes.
    fn length(&mut self, width: usize) -> Result<usize, DecodeError> {
        let (digits, rest) = self
            .rest
            .split_at_checked(width)
            .ok_or_else(|| self.truncated())?;
        self.rest = rest;
        Ok(digits
            .iter()
            .fold(0, |length, &digit| (length << 8) | usize::from(digit)))
    }

    fn truncated(&self) -> DecodeError {
        DecodeError::malformed(self.what, "ends inside a msgpack value")
    }
}
