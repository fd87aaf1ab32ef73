//! Where one repository lies in the hub's cache, which Python tools share, and what is ours in it.
//!
//! ```text
//! models--OWNER--NAME
//! ├── blobs, refs, snapshots      whole files, as every hub client keeps them
//! └── block-server                no other client looks here; it goes when the repository is deleted
//!     ├── locks/FILE              held by who fetches a whole file
//!     ├── files/COMMIT/FILE       which blob that file is: its etag and its size
//!     ├── blobs/ETAG              the file with holes, as long as the whole
//!     ├── blobs/ETAG.ranges       which of its bytes are there (see `journal`)
//!     └── blobs/ETAG.lock         held by who fetches
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::file_facts::BlobName;
use super::partial_file::PartialFile;

/// A repository's folder in the cache.
#[derive(Clone, Debug)]
pub(super) struct CacheFolder(PathBuf);

impl CacheFolder {
    /// The folder of `owner/name` under the cache's root.
    pub(super) fn new(cache_dir: &Path, repository: &str) -> Self {
        Self(cache_dir.join(format!("models--{}", repository.replace('/', "--"))))
    }

    /// Where the whole `file` of a commit is, if it is in the cache.
    pub(super) fn whole(&self, commit: &str, file: &str) -> Option<PathBuf> {
        let path = self.snapshot(commit, file);
        path.exists().then_some(path)
    }

    fn snapshot(&self, commit: &str, file: &str) -> PathBuf {
        self.0.join("snapshots").join(commit).join(file)
    }

    /// A blob that may be there in parts.
    pub(super) fn partial(&self, blob: &BlobName) -> PartialFile {
        PartialFile::new(&self.0.join(OURS).join("blobs").join(&blob.etag), blob.size)
    }

    /// Which blob a file is, if that was found out before.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn known_blob(&self, commit: &str, file: &str) -> io::Result<Option<BlobName>> {
        match fs::read_to_string(self.note(commit, file)) {
            Ok(text) => Ok(BlobName::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Notes which blob a file is.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn note_blob(&self, commit: &str, file: &str, blob: &BlobName) -> io::Result<()> {
        let path = self.note(commit, file);
        // Others may be noting the same, in this process too.
        let own = NOTES.fetch_add(1, Ordering::Relaxed);
        let own = format!(".{file}.{}.{own}", std::process::id());
        let unfinished = path.with_file_name(own);
        fs::create_dir_all(self.0.join(OURS).join("files").join(commit))?;
        fs::write(&unfinished, blob.to_string())?;
        fs::rename(&unfinished, &path)
    }

    /// The commit that a branch or tag stood for when it was asked last.
    pub(super) fn commit_of(&self, revision: &str) -> Option<String> {
        let commit = fs::read_to_string(self.0.join("refs").join(revision)).ok()?;
        Some(commit.trim().to_owned())
    }

    /// The lock of who fetches a whole file.
    pub(super) fn lock(&self, file: &str) -> PathBuf {
        self.0.join(OURS).join("locks").join(file)
    }

    /// Where it is noted which blob a file is.
    pub(super) fn note(&self, commit: &str, file: &str) -> PathBuf {
        self.0.join(OURS).join("files").join(commit).join(file)
    }

    /// Gives a file with all its bytes to the cache that everybody reads; returns its path there.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn adopt(&self, commit: &str, file: &str, blob: &BlobName) -> io::Result<PathBuf> {
        fs::create_dir_all(self.0.join("blobs"))?;
        let snapshot = self.link(commit, file, blob)?;
        fs::rename(self.partial(blob).path(), self.blob(blob))?;
        Ok(snapshot)
    }

    /// Links a file of a commit to its contents, if another commit has brought them into the cache.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn share(
        &self,
        commit: &str,
        file: &str,
        blob: &BlobName,
    ) -> io::Result<Option<PathBuf>> {
        let is_whole = fs::metadata(self.blob(blob)).is_ok_and(|found| found.len() == blob.size);
        match is_whole.then(|| self.link(commit, file, blob)) {
            Some(Err(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
            linked => linked.transpose(),
        }
    }

    fn blob(&self, blob: &BlobName) -> PathBuf {
        self.0.join("blobs").join(&blob.etag)
    }

    fn link(&self, commit: &str, file: &str, blob: &BlobName) -> io::Result<PathBuf> {
        let snapshot = self.snapshot(commit, file);
        fs::create_dir_all(self.0.join("snapshots").join(commit))?;
        match symlink(&Path::new("../../blobs").join(&blob.etag), &snapshot) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(snapshot),
        }
    }
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// Elsewhere hub clients copy; a file with all its bytes stays ours instead.
#[cfg(not(unix))]
fn symlink(_target: &Path, _link: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Notes that this process has begun.
static NOTES: AtomicU64 = AtomicU64::new(0);

/// The folder beside `blobs` that is ours.
const OURS: &str = "block-server";

#[cfg(test)]
mod tests {
    use super::{BlobName, CacheFolder};

    #[test]
    fn a_noted_blob_is_known() {
        let cache = tempfile::tempdir().unwrap();
        let folder = CacheFolder::new(cache.path(), "own/model");
        assert_eq!(folder.known_blob("c0", "f").unwrap(), None);
        let blob = BlobName {
            etag: "abc".to_owned(),
            size: 12,
        };
        folder.note_blob("c0", "f", &blob).unwrap();
        assert_eq!(folder.known_blob("c0", "f").unwrap(), Some(blob));
        assert_eq!(folder.known_blob("c1", "f").unwrap(), None);
        let path = cache
            .path()
            .join("models--own--model/block-server/files/c0/f");
        assert_eq!(folder.note("c0", "f"), path);
        std::fs::write(path, "../../x 12").unwrap();
        assert_eq!(folder.known_blob("c0", "f").unwrap(), None);
    }
}
