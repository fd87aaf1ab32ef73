//! The only writers to standard output and to the terminal.

use std::io::{ErrorKind, Write};

use block_program::{Exit, Failure};
use serde::Serialize;

use crate::ending::Ending;

/// Writes `text` as it is, at once.
///
/// # Errors
/// The reader has gone, or the system refuses (exit 71).
pub(crate) fn text(text: &str) -> Result<(), Ending> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => Ending::OutputClosed,
            _ => Failure::new(Exit::OsError, "cannot write to the standard output")
                .caused_by(&error)
                .into(),
        })
}

/// Writes one line.
///
/// # Errors
/// As [`text`].
pub(crate) fn line(line: &str) -> Result<(), Ending> {
    text(&format!("{line}\n"))
}

/// Writes a value as one line of JSON.
///
/// # Errors
/// As [`text`].
pub(crate) fn json(value: &impl Serialize) -> Result<(), Ending> {
    let text = serde_json::to_string(value).map_err(|error| {
        Failure::new(Exit::Software, "a result cannot be written as JSON").caused_by(&error)
    })?;
    line(&text)
}

/// Writes one line for the person at the terminal. A closed stderr is no reason to stop.
pub(crate) fn remark(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
