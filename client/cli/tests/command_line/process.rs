//! A `swarm` that goes on while the test looks at it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use block_testing::PATIENCE;

/// A running command; killed when dropped.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

/// How it ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// What it printed after what the test has read.
    pub(crate) rest: String,
    pub(crate) stderr: String,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    /// The next line, without its end; panics at the end of output.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        let count = self.stdout.read_line(&mut line).unwrap();
        if count == 0 {
            let mut stderr = String::new();
            let pipe = self.child.stderr.as_mut().unwrap();
            pipe.read_to_string(&mut stderr).unwrap();
            panic!("output ended: {stderr}");
        }
        line.trim_end().to_owned()
    }

    /// Lines up to and with the first that `is_last` is true for.
    pub(crate) fn lines_until(&mut self, is_last: impl Fn(&str) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            lines.push(self.line());
            if is_last(lines.last().unwrap()) {
                return lines;
            }
        }
    }

    /// Sends a signal such as `INT`.
    pub(crate) fn signal(&self, name: &str) {
        Self::kill(name, &self.child.id().to_string());
    }

    /// Ctrl-C at a terminal, for a command that leads its process group: all of the group hear it.
    pub(crate) fn ctrl_c(&self) {
        Self::kill("INT", &format!("-{}", self.child.id()));
    }

    fn kill(name: &str, whom: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), "--", whom])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Reads what is left and waits for the end.
    pub(crate) fn end(mut self) -> Ended {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        let mut stderr = String::new();
        let mut pipe = self.child.stderr.take().unwrap();
        pipe.read_to_string(&mut stderr).unwrap();
        let code = self.child.wait().unwrap().code();
        Ended { code, rest, stderr }
    }

    /// Closes our end of its output, as `head` does, and waits for the end.
    pub(crate) fn close_and_end(mut self) -> Ended {
        let mut stderr = String::new();
        let Self { child, stdout } = &mut self;
        // Replaced by a pipe that is closed already.
        let mut other = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
        drop(std::mem::replace(
            stdout,
            BufReader::new(other.stdout.take().unwrap()),
        ));
        other.wait().unwrap();
        let mut pipe = child.stderr.take().unwrap();
        pipe.read_to_string(&mut stderr).unwrap();
        let code = child.wait().unwrap().code();
        Ended {
            code,
            rest: String::new(),
            stderr,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a process is gone; a killed child of a dead process is reaped by whoever comes next.
pub(crate) fn assert_gone(pid: &str) {
    let deadline = Instant::now() + PATIENCE;
    while is_alive(pid) {
        assert!(Instant::now() < deadline, "process {pid} is still there");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn is_alive(pid: &str) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The state follows the name in brackets; Z is dead, waiting for its parent.
    !stat
        .rsplit(')')
        .next()
        .unwrap()
        .trim_start()
        .starts_with('Z')
}
