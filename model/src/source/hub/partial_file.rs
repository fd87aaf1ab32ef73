//! A file of which some bytes have been fetched: as long as the whole, with holes, beside a journal.
//!
//! Readers need no lock: they map only bytes that the journal names, and those never change. One
//! process at a time holds the lock and writes, only where the journal names nothing. A lock ends
//! with its process, so the next one goes on from the journal.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file_lock::FileLock;
use super::journal::{Entries, Journal};
use super::range_set::RangeSet;

/// A file with holes, open or not.
#[derive(Debug)]
pub(super) struct PartialFile {
    path: PathBuf,
    size: u64,
}

/// The file in the hands of who fetches its bytes.
#[derive(Debug)]
pub(super) struct HeldFile {
    path: PathBuf,
    file: Arc<File>,
    journal: Journal,
    complete: RangeSet,
    _lock: FileLock,
}

impl PartialFile {
    /// The file at `path`, of `size` bytes with its holes.
    pub(super) fn new(path: &Path, size: u64) -> Self {
        Self {
            path: path.to_owned(),
            size,
        }
    }

    /// Where the bytes are.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Which bytes are there.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn complete(&self) -> io::Result<RangeSet> {
        Ok(self.entries()?.complete)
    }

    /// Removes the file if it is there and nobody writes to it: all of it is elsewhere by now.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn give_up(&self) -> io::Result<()> {
        if self.path.exists()
            && let Some(held) = self.try_hold()?
        {
            held.discard()?;
        }
        Ok(())
    }

    fn entries(&self) -> io::Result<Entries> {
        match fs::metadata(&self.path) {
            Ok(metadata) if metadata.len() == self.size => {
                Entries::read(&journal_path(&self.path), self.size)
            }
            Ok(_) => Ok(Entries::default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Entries::default()),
            Err(error) => Err(error),
        }
    }

    /// Takes the file to write to it; `None` as long as another has it.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn try_hold(&self) -> io::Result<Option<HeldFile>> {
        let Some(lock) = FileLock::try_take(&with_suffix(&self.path, "lock"))? else {
            return Ok(None);
        };
        let entries = self.entries()?;
        if entries == Entries::default() {
            // Somebody may still read a file that was given up: it is replaced, not overwritten.
            remove(&self.path)?;
        }
        let mut options = OpenOptions::new();
        options.create(true).write(true).truncate(false);
        let file = options.open(&self.path)?;
        file.set_len(self.size)?;
        Ok(Some(HeldFile {
            path: self.path.clone(),
            file: Arc::new(file),
            journal: Journal::open(&journal_path(&self.path), self.size, &entries)?,
            complete: entries.complete,
            _lock: lock,
        }))
    }
}

impl HeldFile {
    /// Where the bytes are.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Which bytes are there.
    pub(super) fn complete(&self) -> &RangeSet {
        &self.complete
    }

    /// The file itself, for [`write_at`] and to write it through to the disk.
    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// The first `length` bytes.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn start(&self, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(&self.path)?
            .take(length)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Notes that the bytes of `range` are on the disk.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn note(&mut self, range: Range<u64>) -> io::Result<()> {
        if !range.is_empty() {
            self.journal.add(&range)?;
            self.complete.insert(range);
        }
        Ok(())
    }

    /// Gives up what has been fetched: it turned out to be wrong.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn discard(&self) -> io::Result<()> {
        self.forget()?;
        remove(&self.path)
    }

    /// Removes the journal.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn forget(&self) -> io::Result<()> {
        remove(&journal_path(&self.path))
    }
}

/// Writes `bytes` at `offset`. Two calls must not overlap in time.
///
/// # Errors
/// As the operating system says; `StorageFull` if the disk is.
pub(super) fn write_at(mut file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}

fn journal_path(path: &Path) -> PathBuf {
    with_suffix(path, "ranges")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{PartialFile, RangeSet, write_at};

    #[test]
    fn one_at_a_time_holds_the_file_and_the_next_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let partial = PartialFile::new(&folder.path().join("deep").join("blob"), 100);
        assert_eq!(partial.complete().unwrap(), RangeSet::default());
        let mut held = partial.try_hold().unwrap().unwrap();
        assert!(partial.try_hold().unwrap().is_none());
        write_at(&held.file(), 10, b"ten").unwrap();
        held.note(10..13).unwrap();
        held.note(20..20).unwrap();
        assert_eq!(partial.complete().unwrap(), RangeSet::from(10..13));
        drop(held);
        let held = partial.try_hold().unwrap().unwrap();
        assert_eq!(held.complete(), &RangeSet::from(10..13));
        let bytes = std::fs::read(partial.path()).unwrap();
        assert_eq!((bytes.len(), &bytes[9..14]), (100, &b"\0ten\0"[..]));
    }

    #[test]
    fn a_file_that_does_not_fit_its_journal_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let partial = PartialFile::new(&folder.path().join("blob"), 100);
        for length in [0, 99, 101] {
            let mut held = partial.try_hold().unwrap().unwrap();
            held.note(0..50).unwrap();
            drop(held);
            assert_eq!(partial.complete().unwrap(), RangeSet::from(0..50));
            std::fs::write(partial.path(), vec![1; length]).unwrap();
            assert_eq!(partial.complete().unwrap(), RangeSet::default());
            let held = partial.try_hold().unwrap().unwrap();
            assert_eq!(held.complete(), &RangeSet::default());
            assert_eq!(std::fs::read(partial.path()).unwrap(), [0; 100]);
        }
    }

    #[test]
    fn what_was_discarded_is_gone_but_not_for_who_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let partial = PartialFile::new(&folder.path().join("blob"), 4);
        let mut held = partial.try_hold().unwrap().unwrap();
        write_at(&held.file(), 0, b"old!").unwrap();
        held.note(0..4).unwrap();
        let reader = crate::source::mapped_file::MappedFile::open(partial.path()).unwrap();
        let mapped = reader.map(0..4).unwrap();
        held.discard().unwrap();
        drop(held);
        let held = partial.try_hold().unwrap().unwrap();
        assert_eq!(held.complete(), &RangeSet::default());
        write_at(&held.file(), 0, b"new!").unwrap();
        assert_eq!(&mapped[..], b"old!");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_told_as_such() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        let error = write_at(&full.unwrap(), 0, b"x").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    }
}
