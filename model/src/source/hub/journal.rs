//! Which bytes of a partial file have been fetched, in a file of its own beside it.
//!
//! ```text
//! block-server ranges 1 of 4983508568
//! 0 65536
//! 1048576 2097152
//! ```
//!
//! The first line ends with the file's size; each other line names bytes `start..end` that are on the
//! disk. Lines are only ever added, and only after their bytes were written through to the disk, so
//! every prefix of a journal is true. Reading stops at the first line that is cut or makes no sense,
//! as a machine that lost power may leave at the end.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::Path;

use super::range_set::RangeSet;

/// What a journal says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Entries {
    /// Bytes that have been fetched.
    pub(super) complete: RangeSet,
    /// Length of the lines that made sense; 0 if not even the first one did.
    sound_bytes: u64,
}

impl Entries {
    /// Reads the journal of a file of `size` bytes; a journal that is not there, or is of another file,
    /// has no entries.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn read(path: &Path, size: u64) -> io::Result<Self> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(MAX_JOURNAL_BYTES).read_to_end(&mut bytes)?;
        Ok(Self::parse(&bytes, size))
    }

    fn parse(bytes: &[u8], size: u64) -> Self {
        let mut entries = Self::default();
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
        if lines.next() != Some(first_line(size).as_bytes()) {
            return entries;
        }
        entries.sound_bytes = first_line(size).len() as u64;
        for line in lines {
            let Some(range) = parse_line(line).filter(|range| range.end <= size) else {
                break;
            };
            entries.complete.insert(range);
            entries.sound_bytes += line.len() as u64;
        }
        entries
    }
}

/// A journal that lines can be added to.
#[derive(Debug)]
pub(super) struct Journal(File);

impl Journal {
    /// Opens the journal of a file of `size` bytes after its last sound line; begins it anew if it has
    /// no entries. Only who holds the file's lock may.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn open(path: &Path, size: u64, entries: &Entries) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options.create(true).append(true).open(path)?;
        if file.metadata()?.len() != entries.sound_bytes {
            file.set_len(entries.sound_bytes)?;
        }
        if entries.sound_bytes == 0 {
            file.write_all(first_line(size).as_bytes())?;
        }
        Ok(Self(file))
    }

    /// Adds a line; the bytes of `range` must be on the disk.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn add(&mut self, range: &Range<u64>) -> io::Result<()> {
        self.0
            .write_all(format!("{} {}\n", range.start, range.end).as_bytes())
    }
}

fn first_line(size: u64) -> String {
    format!("block-server ranges 1 of {size}\n")
}

fn parse_line(line: &[u8]) -> Option<Range<u64>> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (start, end) = line.split_once(' ')?;
    let range = start.parse().ok()?..end.parse().ok()?;
    (!range.is_empty()).then_some(range)
}

/// A line takes at most 42 bytes and stands for a MiB, so this is the journal of a file of 1.5 TiB.
const MAX_JOURNAL_BYTES: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Entries, Journal, RangeSet};

    const SIZE: u64 = 5000;

    /// A journal with these bytes, opened and continued with one line, as read afterwards.
    fn continued(bytes: &[u8]) -> (Entries, Entries) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        std::fs::write(&path, bytes).unwrap();
        let before = Entries::read(&path, SIZE).unwrap();
        let mut journal = Journal::open(&path, SIZE, &before).unwrap();
        journal.add(&(4000..4096)).unwrap();
        (before, Entries::read(&path, SIZE).unwrap())
    }

    fn set(ranges: &[std::ops::Range<u64>]) -> RangeSet {
        ranges.iter().cloned().collect()
    }

    #[test]
    fn every_prefix_is_true_and_can_be_continued() {
        let whole = b"block-server ranges 1 of 5000\n0 1000\n2000 3000\n";
        for length in 0..=whole.len() {
            let (before, after) = continued(&whole[..length]);
            let lines = whole[..length].iter().filter(|byte| **byte == b'\n');
            let expected = match lines.count() {
                0 | 1 => RangeSet::default(),
                2 => RangeSet::from(0..1000),
                _ => set(&[0..1000, 2000..3000]),
            };
            assert_eq!(before.complete, expected, "{length}");
            let mut expected = expected;
            expected.insert(4000..4096);
            assert_eq!(after.complete, expected, "{length}");
        }
    }

    #[test]
    fn nonsense_ends_the_journal() {
        for line in [
            "0 6000", "9 9", "9 8", "-1 5", "1 2 3", "a b", "1", "", "\0\0\0",
        ] {
            let text = format!("block-server ranges 1 of 5000\n0 10\n{line}\n20 30\n");
            let (before, after) = continued(text.as_bytes());
            assert_eq!(before.complete, RangeSet::from(0..10), "{line}");
            assert_eq!(after.complete, set(&[0..10, 4000..4096]), "{line}");
        }
    }

    #[test]
    fn a_journal_of_another_file_says_nothing() {
        let (before, after) = continued(b"block-server ranges 1 of 4999\n0 10\n");
        assert_eq!(before, Entries::default());
        assert_eq!(after.complete, RangeSet::from(4000..4096));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_within_the_file(bytes in ".{0,200}") {
            let text = format!("block-server ranges 1 of 5000\n{bytes}");
            prop_assert!(Entries::parse(text.as_bytes(), SIZE).complete.bytes() <= SIZE);
        }
    }
}
