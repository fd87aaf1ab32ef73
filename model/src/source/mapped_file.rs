//! Read-only memory maps of parts of a file: the one place of this crate with `unsafe`.
//!
//! Only the part in use is mapped, so memory holds one tensor of the file at a time, and the
//! kernel may drop its pages as they are clean.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use memmap2::{Mmap, MmapOptions};

/// A file opened for reading whose parts can be mapped.
#[derive(Debug)]
pub(crate) struct MappedFile {
    file: File,
}

impl MappedFile {
    /// Opens the file read-only.
    ///
    /// # Errors
    /// As the operating system says.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::open(path)?,
        })
    }

    /// The file's present size, bytes.
    ///
    /// # Errors
    /// As the operating system says.
    pub(crate) fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Maps the bytes `range` of the file.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file is now shorter than `range`; else as the operating system says.
    #[allow(
        unsafe_code,
        reason = "a memory map is the only way to read gigabytes without a second copy of them"
    )]
    pub(crate) fn map(&self, range: Range<u64>) -> io::Result<Mmap> {
        let length = range.end.checked_sub(range.start);
        let length = length.and_then(|length| usize::try_from(length).ok());
        let (true, Some(length)) = (range.end <= self.size_bytes()?, length) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let mut options = MmapOptions::new();
        options.offset(range.start).len(length);
        // SAFETY: the file is opened read-only and the map is shared as `&[u8]` only, of which
        // every bit pattern is valid; the range lies inside the file, as just checked. Checkpoint
        // files are written once under a temporary name and renamed, and in a file with holes only
        // bytes are read that were fetched before, which are never written again. So nobody writes to
        // the bytes while they are read; who truncates a file meanwhile ends the process by SIGBUS.
        unsafe { options.map(&self.file) }
    }
}
