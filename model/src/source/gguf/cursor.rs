//! Reading a header value by value, each checked against what is left of it.

/// A place in a header. Its errors say what is wrong, in words that follow the file's name.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    /// The start of a header.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// If there are fewer.
    pub(super) fn take(&mut self, count: u64) -> Result<&'a [u8], String> {
        let left = &self.bytes[self.position..];
        let count = usize::try_from(count)
            .ok()
            .filter(|count| *count <= left.len());
        let count = count.ok_or(CUT)?;
        self.position += count;
        Ok(&left[..count])
    }

    /// The next `SIZE` bytes.
    ///
    /// # Errors
    /// If there are fewer.
    pub(super) fn array<const SIZE: usize>(&mut self) -> Result<[u8; SIZE], String> {
        let left = self.bytes[self.position..].first_chunk().ok_or(CUT)?;
        self.position += SIZE;
        Ok(*left)
    }

    /// The next 4 bytes as a number.
    ///
    /// # Errors
    /// If there are fewer.
    pub(super) fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next 8 bytes as a number.
    ///
    /// # Errors
    /// If there are fewer.
    pub(super) fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    /// A string: its length, 8 bytes, and then its bytes.
    ///
    /// # Errors
    /// If the header ends within.
    pub(super) fn string(&mut self) -> Result<&'a [u8], String> {
        let length = self.u64()?;
        self.take(length)
    }

    /// A string that names something.
    ///
    /// # Errors
    /// If the header ends within, or the name is too long or no UTF-8.
    pub(super) fn name(&mut self) -> Result<&'a str, String> {
        let bytes = self.string()?;
        if bytes.len() > MAX_NAME_BYTES {
            return Err(format!("a name in its header has {} bytes", bytes.len()));
        }
        std::str::from_utf8(bytes).map_err(|_| "a name in its header is no UTF-8".to_owned())
    }

    /// A count of things that take at least `least_bytes` each.
    ///
    /// # Errors
    /// If they cannot fit into what is left, or are more than `most`.
    pub(super) fn count(
        &mut self,
        what: &str,
        least_bytes: usize,
        most: usize,
    ) -> Result<usize, String> {
        let count = self.u64()?;
        let room = (self.bytes.len() - self.position) / least_bytes;
        usize::try_from(count)
            .ok()
            .filter(|count| *count <= room.min(most))
            .ok_or_else(|| {
                format!(
                    "its header announces {count} {what}, which do not fit, or are above {most}"
                )
            })
    }
}

/// What is said of a header that ends too early.
const CUT: &str = "it ends within its header, as after an interrupted copy";

/// Longest key or name of a tensor, bytes: the format's own limit for keys.
const MAX_NAME_BYTES: usize = (1 << 16) - 1;
