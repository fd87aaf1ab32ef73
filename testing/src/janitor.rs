//! The one process that ends all others (see `scripts/peers/janitor.py`), even when this one is killed.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, Mutex};

use crate::folders::repository;

/// How a process group is asked to end before it is killed.
#[derive(Clone, Copy, Debug)]
pub enum Farewell {
    /// It ends when its standard input does.
    EndOfInput,
    /// It ends on SIGTERM.
    Terminate,
}

/// Remembers a process group and ends it after this process.
pub fn watch(group: u32, farewell: Farewell) {
    let verb = match farewell {
        Farewell::EndOfInput => "watch",
        Farewell::Terminate => "own",
    };
    JANITOR.lock().unwrap().send(verb, group);
}

/// Kills every process of the group and returns when none runs any more.
pub fn kill(group: u32) {
    assert!(
        JANITOR.lock().unwrap().ends("kill", group),
        "process group {group} survived SIGKILL"
    );
}

/// Stops every process of the group (SIGSTOP): it neither answers nor hangs up. It is killed, not asked, in the end.
pub fn pause(group: u32) {
    JANITOR.lock().unwrap().send("pause", group);
}

/// Sends SIGTERM; true if the whole group has ended within the janitor's patience.
pub fn terminate(group: u32) -> bool {
    JANITOR.lock().unwrap().ends("terminate", group)
}

/// True if the whole group ends by itself within the janitor's patience.
pub fn await_end(group: u32) -> bool {
    JANITOR.lock().unwrap().ends("await", group)
}

/// Has the group's Python processes write the stacks of their threads to their log.
pub fn write_stacks(group: u32) {
    JANITOR.lock().unwrap().ends("stacks", group);
}

/// A folder with a path short enough for Unix sockets; the janitor removes it.
pub fn scratch() -> PathBuf {
    JANITOR.lock().unwrap().scratch.clone()
}

/// The interpreter that `scripts/python-peers` installs.
pub fn python() -> PathBuf {
    let python = repository().join(".cache/python-peers/bin/python");
    assert!(
        Path::new(&python).exists(),
        "{} is missing: run scripts/python-peers first (scripts/test does)",
        python.display()
    );
    python
}

struct Janitor {
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    scratch: PathBuf,
    _process: std::process::Child,
}

static JANITOR: LazyLock<Mutex<Janitor>> = LazyLock::new(|| Mutex::new(Janitor::start()));

impl Janitor {
    fn start() -> Self {
        let mut child = Command::new(python())
            .arg(repository().join("scripts/peers/janitor.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // It outlives this process, and an inherited pipe would keep its reader waiting.
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut janitor = Self {
            requests: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            scratch: PathBuf::new(),
            _process: child,
        };
        janitor.scratch = PathBuf::from(janitor.answer());
        janitor
    }

    fn send(&mut self, verb: &str, group: u32) {
        writeln!(self.requests, "{verb} {group}").expect("the janitor runs as long as we do");
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the janitor has ended");
        line.trim_end().to_owned()
    }

    fn ends(&mut self, verb: &str, group: u32) -> bool {
        self.send(verb, group);
        self.answer() == format!("ended {group}")
    }
}
