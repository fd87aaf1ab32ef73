//! One program of ours as a process, in a home folder of its own.

use std::io::BufReader;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::{next_line, program};

/// A running program. Dropping it ends it.
#[derive(Debug)]
pub(super) struct OwnProgram {
    child: Child,
    _home: TempDir,
}

impl OwnProgram {
    /// Starts `name` with the arguments that `tell` gives it, and waits for what it prints after `READY `.
    ///
    /// # Errors
    /// If it ends instead; its log is on stderr.
    pub(super) fn start(name: &str, tell: impl FnOnce(&mut Command)) -> Result<(Self, String)> {
        let home = TempDir::new()?;
        let mut command = Command::new(program(name)?);
        tell(&mut command);
        command
            .env("HOME", home.path())
            .env("XDG_CONFIG_HOME", home.path().join("config"))
            .env("XDG_STATE_HOME", home.path().join("state"))
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| name.to_owned())?;
        let stdout = child.stdout.take().context("its output is a pipe")?;
        let mut running = Self { child, _home: home };
        let mut lines = BufReader::new(stdout);
        let line = next_line(&mut running.child, &mut lines, name)?;
        let ready = line.strip_prefix("READY ").with_context(|| line.clone())?;
        Ok((running, ready.to_owned()))
    }
}

impl Drop for OwnProgram {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
