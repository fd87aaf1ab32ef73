//! Small text files that flags name.

use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::error_report::{Exit, Failure};

/// The text of `file`, which the flag `flag` names; at most `max_bytes` of it.
///
/// # Errors
/// The file is missing (exit 66) or unreadable (77).
pub(crate) fn read(flag: &str, file: &Path, max_bytes: u64) -> Result<String, Failure> {
    let read = || -> std::io::Result<String> {
        let mut text = String::new();
        std::fs::File::open(file)?
            .take(max_bytes)
            .read_to_string(&mut text)?;
        Ok(text)
    };
    read().map_err(|error| {
        let exit = match error.kind() {
            ErrorKind::NotFound => Exit::NoInput,
            _ => Exit::NoPermission,
        };
        let what = format!("cannot read the file of {flag}: {}", file.display());
        Failure::new(exit, what).caused_by(&error)
    })
}
