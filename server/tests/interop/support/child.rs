//! A child process in a group of its own, its log in a file.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

use super::janitor::{self, Farewell};
use super::temporary;

/// Enough of a log to see an error and what led to it.
const LOG_TAIL_BYTES: usize = 20_000;

#[derive(Debug)]
pub(crate) struct Child {
    name: String,
    group: u32,
    log: PathBuf,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
}

impl Child {
    /// Starts `command`; it gets a standard input only if it is one that ends with it.
    pub(crate) fn spawn(name: &str, mut command: Command, farewell: Farewell) -> Self {
        let log = temporary(&format!("{name}.log"));
        let stdin = match farewell {
            Farewell::EndOfInput => Stdio::piped(),
            Farewell::Terminate => Stdio::null(),
        };
        let mut process = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} did not start: {error}"));
        let group = process.id();
        janitor::watch(group, farewell);
        let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
        thread::spawn(move || drop(process.wait()));
        Self {
            name: name.to_owned(),
            group,
            log,
            stdin,
            stdout,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn take_stdin(&mut self) -> ChildStdin {
        self.stdin
            .take()
            .expect("taken once, by the owner of a child that has one")
    }

    pub(crate) fn take_stdout(&mut self) -> ChildStdout {
        self.stdout.take().expect("taken once")
    }

    /// SIGKILL to every process of the group: no farewell to anybody.
    pub(crate) fn kill(&self) {
        janitor::kill(self.group);
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn terminate(&self) {
        assert!(
            janitor::terminate(self.group),
            "{}",
            self.complaint("ignores SIGTERM")
        );
    }

    /// Waits for the end of the whole group.
    pub(crate) fn await_end(&self) {
        assert!(
            janitor::await_end(self.group),
            "{}",
            self.complaint("left processes behind")
        );
    }

    /// Has a Python child write the stacks of its threads to its log.
    pub(crate) fn write_stacks(&self) {
        janitor::write_stacks(self.group);
    }

    /// `what` with the child's name and the end of its log.
    pub(crate) fn complaint(&self, what: &str) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let tail = String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL_BYTES)..]);
        format!(
            "{}: {what}\n--- end of {} ---\n{tail}\n---",
            self.name,
            self.log.display()
        )
    }
}
