//! The repository, and where files of a test run go.

use std::path::{Path, PathBuf};

use crate::programs::build_folder;

/// The checked-out repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate is a folder of the repository")
}

/// The model that is part of the repository: 8 blocks, 512 positions.
pub fn fable() -> PathBuf {
    repository().join("models/fable-7m")
}

/// A path inside this test program's folder for files that nobody keeps: models made here, identities, logs.
pub fn temporary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("Linux knows the path of a running program");
    let test = test.file_name().expect("a program is a file");
    let folder = build_folder().join("tmp").join(test);
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}
