//! A child process in a group of its own, its log in a file.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use crate::PATIENCE;
use crate::folders::temporary;
use crate::janitor::{self, Farewell};

/// Enough of a log to see an error and what led to it.
const LOG_TAIL_BYTES: usize = 20_000;

/// A process that the janitor watches.
#[derive(Debug)]
pub struct Child {
    name: String,
    group: u32,
    log: PathBuf,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    status: Mutex<Receiver<ExitStatus>>,
}

impl Child {
    /// Starts `command`; it gets a standard input only if it is one that ends with it.
    pub fn spawn(name: &str, mut command: Command, farewell: Farewell) -> Self {
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
        let (sender, status) = sync_channel(1);
        thread::spawn(move || process.wait().map(|status| sender.try_send(status)));
        Self {
            name: name.to_owned(),
            group,
            log,
            stdin,
            stdout,
            status: Mutex::new(status),
        }
    }

    /// The name that the test gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The standard input of a child that ends with it.
    pub fn take_stdin(&mut self) -> ChildStdin {
        self.stdin
            .take()
            .expect("taken once, by the owner of a child that has one")
    }

    /// The standard output.
    pub fn take_stdout(&mut self) -> ChildStdout {
        self.stdout.take().expect("taken once")
    }

    /// SIGKILL to every process of the group: no farewell to anybody.
    pub fn kill(&self) {
        janitor::kill(self.group);
    }

    /// SIGSTOP to every process of the group: connections stay open and nothing answers. Kill it when it has served.
    pub fn pause(&self) {
        janitor::pause(self.group);
    }

    /// The text that the child has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until the child itself has ended, and says how.
    pub fn await_status(&self) -> ExitStatus {
        let status = self.status.lock().unwrap().recv_timeout(PATIENCE);
        status.unwrap_or_else(|error| panic!("{}", self.complaint(&format!("runs on: {error}"))))
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&self) {
        assert!(
            janitor::terminate(self.group),
            "{}",
            self.complaint("ignores SIGTERM")
        );
    }

    /// Waits for the end of the whole group.
    pub fn await_end(&self) {
        assert!(
            janitor::await_end(self.group),
            "{}",
            self.complaint("left processes behind")
        );
    }

    /// Has a Python child write the stacks of its threads to its log.
    pub fn write_stacks(&self) {
        janitor::write_stacks(self.group);
    }

    /// `what` with the child's name and the end of its log.
    pub fn complaint(&self, what: &str) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let tail = String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL_BYTES)..]);
        format!(
            "{}: {what}\n--- end of {} ---\n{tail}\n---",
            self.name,
            self.log.display()
        )
    }
}
