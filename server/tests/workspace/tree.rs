//! The files of the repository.

use std::fs;
use std::path::{Path, PathBuf};

/// What builds and tools leave in the checkout.
const NOT_OURS: [&str; 6] = [
    ".git",
    ".cache",
    "target",
    "__pycache__",
    "node_modules",
    "proptest-regressions",
];

pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Every file below `folder`, relative to the repository.
pub(crate) fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![repository().join(folder)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if NOT_OURS.iter().any(|name| path.ends_with(name)) {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path.strip_prefix(repository()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "nothing found in {folder}");
    found
}

/// The text of a file; None if it is no text.
pub(crate) fn text(path: &Path) -> Option<String> {
    String::from_utf8(fs::read(repository().join(path)).unwrap()).ok()
}
