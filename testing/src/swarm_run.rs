//! `swarm run … --stream --json` as a child process: one line per token, and a last one that sums up.

use std::io::{BufRead, BufReader};
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::PATIENCE;
use crate::child::Child;
use crate::folders::temporary;
use crate::janitor::Farewell;
use crate::programs::program;

/// More lines than any run here prints: the reader never waits for the test.
const LINES: usize = 4096;

/// A running generation.
#[derive(Debug)]
pub struct SwarmRun {
    child: Child,
    lines: Receiver<Line>,
    seen: Vec<Line>,
}

/// One line of output.
#[derive(Clone, Debug)]
pub struct Line {
    /// When the test read it.
    pub at: Instant,
    /// What it says.
    pub value: Value,
}

/// How a generation ended.
#[derive(Clone, Debug)]
pub struct Ending {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Every line but the last.
    pub tokens: Vec<Line>,
    /// The last line: prompt, ids, text, route, times and counts.
    pub summary: Value,
    /// Everything on standard error.
    pub log: String,
}

impl SwarmRun {
    /// Starts `swarm run` with `arguments`, `--stream` and `--json`, in a home of its own.
    pub fn spawn(name: &str, arguments: &[&str]) -> Self {
        let home = temporary("home");
        let mut command = Command::new(program("swarm"));
        command
            .arg("run")
            .args(arguments)
            .args(["--stream", "--json"])
            .env_clear()
            .envs(std::env::var("RUST_LOG").map(|filter| ("RUST_LOG", filter)))
            .env("HOME", &home)
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_STATE_HOME", home.join("state"))
            .env("XDG_CACHE_HOME", home.join("cache"));
        let mut child = Child::spawn(name, command, Farewell::Terminate);
        let (sender, lines) = sync_channel(LINES);
        let stdout = child.take_stdout();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let at = Instant::now();
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(Line { at, value }).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// Waits until at least `tokens` tokens have been printed; false if the run ends before.
    pub fn await_tokens(&mut self, tokens: usize) -> bool {
        while self.seen.len() < tokens {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => panic!(
                    "{}",
                    self.child
                        .complaint(&format!("printed {} tokens, then nothing", self.seen.len()))
                ),
            }
        }
        true
    }

    /// Tokens that the test has read so far.
    pub fn tokens_seen(&self) -> usize {
        self.seen.len()
    }

    /// SIGINT or another signal by its name is the business of tests of the command line; this one kills.
    pub fn kill(&self) {
        self.child.kill();
    }

    /// Waits for the end, whatever it is; a run that prints nothing for [`PATIENCE`] fails the test.
    pub fn end(mut self) -> Ending {
        while self.await_tokens(self.seen.len() + 1) {}
        let code = self.child.await_status().code();
        let summary = self.seen.pop().map_or(Value::Null, |line| line.value);
        Ending {
            code,
            tokens: self.seen,
            summary,
            log: self.child.log(),
        }
    }

    /// Waits for the end, which must be a success.
    pub fn finish(self) -> Ending {
        let name = self.child.name().to_owned();
        let ending = self.end();
        assert_eq!(
            ending.code,
            Some(0),
            "{name}: {}\n{}",
            ending.summary,
            ending.log
        );
        ending
    }
}

impl Ending {
    /// The new ids.
    pub fn ids(&self) -> Vec<u32> {
        serde_json::from_value(self.summary["ids"].clone())
            .unwrap_or_else(|error| panic!("ids: {error} in {}", self.summary))
    }

    /// An integer of the last line.
    pub fn count(&self, key: &str) -> u64 {
        self.summary[key]
            .as_u64()
            .unwrap_or_else(|| panic!("no count {key} in {}", self.summary))
    }

    /// The longest wait for a next token, as the run itself measured it.
    pub fn max_stall(&self) -> Duration {
        let milliseconds = self.summary["max_stall_ms"].as_f64();
        Duration::from_secs_f64(milliseconds.expect("a number") / 1000.0)
    }

    /// The hops in order: peer, first block, end.
    pub fn route(&self) -> Vec<(String, u32, u32)> {
        let hops = self.summary["route"].as_array().expect("a list");
        hops.iter().map(hop).collect()
    }
}

fn hop(hop: &Value) -> (String, u32, u32) {
    let bound = |index: usize| {
        u32::try_from(hop["blocks"][index].as_u64().expect("a number")).expect("a block")
    };
    (
        hop["peer"].as_str().expect("a peer").to_owned(),
        bound(0),
        bound(1),
    )
}
