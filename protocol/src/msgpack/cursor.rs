//! msgpack items read in place.
//!
//! Values stay opaque here: a value is found, measured and handed on as a slice, so that four megabytes of input
//! can never grow into a tree of small allocations. `None` always means "not what was expected, or cut short".

/// Reads msgpack items one after another from the front of a slice.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes that are not read yet.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Number of elements that follow an array header.
    pub(crate) fn array_length(&mut self) -> Option<usize> {
        match self.byte()? {
            tag @ 0x90..=0x9f => Some(usize::from(tag & 0x0f)),
            0xdc => self.length(2),
            0xdd => self.length(4),
            _ => None,
        }
    }

    /// Content of a byte string.
    pub(crate) fn binary(&mut self) -> Option<&'a [u8]> {
        let length = match self.byte()? {
            0xc4 => self.length(1)?,
            0xc5 => self.length(2)?,
            0xc6 => self.length(4)?,
            _ => return None,
        };
        self.take(length)
    }

    /// Content of a text string.
    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let length = match self.byte()? {
            tag @ 0xa0..=0xbf => usize::from(tag & 0x1f),
            0xd9 => self.length(1)?,
            0xda => self.length(2)?,
            0xdb => self.length(4)?,
            _ => return None,
        };
        std::str::from_utf8(self.take(length)?).ok()
    }

    /// Type code and body of an extension value.
    pub(crate) fn extension(&mut self) -> Option<(u8, &'a [u8])> {
        let length = match self.byte()? {
            0xd4 => 1,
            0xd5 => 2,
            0xd6 => 4,
            0xd7 => 8,
            0xd8 => 16,
            0xc7 => self.length(1)?,
            0xc8 => self.length(2)?,
            0xc9 => self.length(4)?,
            _ => return None,
        };
        let code = self.byte()?;
        Some((code, self.take(length)?))
    }

    /// A number as f64. Python keeps an integer expiration an integer, so all number forms are accepted.
    pub(crate) fn number(&mut self) -> Option<f64> {
        let tag = self.byte()?;
        Some(match tag {
            0x00..=0x7f => f64::from(tag),
            0xe0..=0xff => f64::from(i8::from_be_bytes([tag])),
            0xca => f64::from(f32::from_be_bytes(self.array()?)),
            0xcb => f64::from_be_bytes(self.array()?),
            0xcc => f64::from(u8::from_be_bytes(self.array()?)),
            0xcd => f64::from(u16::from_be_bytes(self.array()?)),
            0xce => f64::from(u32::from_be_bytes(self.array()?)),
            0xcf => u64::from_be_bytes(self.array()?) as f64,
            0xd0 => f64::from(i8::from_be_bytes(self.array()?)),
            0xd1 => f64::from(i16::from_be_bytes(self.array()?)),
            0xd2 => f64::from(i32::from_be_bytes(self.array()?)),
            0xd3 => i64::from_be_bytes(self.array()?) as f64,
            _ => return None,
        })
    }

    /// The bytes of one whole value of any kind. Counts open elements instead of recursing, so depth costs nothing.
    pub(crate) fn value(&mut self) -> Option<&'a [u8]> {
        let start = self.rest;
        let mut open: usize = 1;
        while open > 0 {
            open = open.saturating_sub(1).saturating_add(self.skip_header()?);
        }
        let used = start.len().saturating_sub(self.rest.len());
        start.get(..used)
    }

    /// Skips one header with its scalar content; returns how many values it opens.
    pub(crate) fn skip_header(&mut self) -> Option<usize> {
        let tag = self.byte()?;
        let scalar_bytes = match tag {
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => 0,
            0x80..=0x8f => return Some(usize::from(tag & 0x0f).saturating_mul(2)),
            0x90..=0x9f => return Some(usize::from(tag & 0x0f)),
            0xa0..=0xbf => usize::from(tag & 0x1f),
            0xc1 => return None,
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
            0xde => return Some(self.length(2)?.saturating_mul(2)),
            0xdf => return Some(self.length(4)?.saturating_mul(2)),
        };
        self.take(scalar_bytes).map(|_| 0)
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn length(&mut self, bytes: usize) -> Option<usize> {
        let mut length: usize = 0;
        for byte in self.take(bytes)? {
            length = length.checked_mul(256)?.checked_add(usize::from(*byte))?;
        }
        Some(length)
    }
}

/// True if `bytes` are exactly one msgpack value.
pub(crate) fn is_one_value(bytes: &[u8]) -> bool {
    let mut cursor = Cursor::new(bytes);
    cursor.value().is_some() && cursor.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_form_are_read() {
        for (bytes, expected) in [
            (&[0x05][..], 5.0),
            (&[0xff], -1.0),
            (&[0xcd, 0x01, 0x00], 256.0),
            (&[0xce, 0, 0, 0, 9], 9.0),
            (&[0xd1, 0xff, 0xfe], -2.0),
            (&[0xca, 0x3f, 0x80, 0, 0], 1.0),
        ] {
            assert_eq!(Cursor::new(bytes).number(), Some(expected));
        }
        assert_eq!(Cursor::new(&[0xa1, 0x61]).number(), None);
    }
}
