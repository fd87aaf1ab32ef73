//! Where cargo has put our programs: beside the folder of the running test.

use std::path::{Path, PathBuf};

/// The path of `block-server` or `swarm` as built with the running test.
///
/// Cargo builds the programs of a test's own package with it, and those of every package that is tested at once;
/// others must have been built before.
pub fn program(name: &str) -> PathBuf {
    let path = build_folder().join(name);
    assert!(
        path.exists(),
        "{} is missing: run `cargo build -p block-server -p swarm` first (scripts/test builds everything)",
        path.display()
    );
    path
}

/// The folder of the profile that the running test was built with, for example `target/debug`.
pub fn build_folder() -> PathBuf {
    let test = std::env::current_exe().expect("Linux knows the path of a running program");
    let folder = test.parent().expect("a program lies in a folder");
    // Tests lie in `deps`, binaries of the package beside it.
    let is_deps = folder.file_name().is_some_and(|name| name == "deps");
    let profile = if is_deps { folder.parent() } else { None };
    profile.map_or_else(|| folder.to_owned(), Path::to_owned)
}
