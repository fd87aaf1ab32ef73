//! `swarm run … --stream --json` as a child process: one line per token, and a last one that sums up.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::PATIENCE;
use crate::child::Child;
use crate::folders::temporary;
use crate::home::at_home;
use crate::janitor::Farewell;
use crate::programs::program;

/// More lines than any run here prints: the reader never waits for the test.
const LINES: usize = 4096;

/// What is asked of `swarm run`; always greedy.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The folder of the model.
    pub model: PathBuf,
    /// Its DHT prefix.
    pub prefix: String,
    /// Where to join.
    pub bootstrap: String,
    /// Ids.
    pub prompt: Vec<u32>,
    /// New tokens.
    pub max_tokens: usize,
    /// Whether to go on after the token that ends an answer.
    pub past_the_end: bool,
    /// As the flag spells it.
    pub codec: &'static str,
    /// Whether servers may push to each other.
    pub push: bool,
    /// Peers in the order of their blocks; none leaves the choice to the router.
    pub route: Vec<String>,
}

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
    /// Starts a generation.
    pub fn ask(name: &str, ask: &Ask) -> Self {
        let ids: Vec<String> = ask.prompt.iter().map(u32::to_string).collect();
        let (ids, tokens) = (ids.join(","), ask.max_tokens.to_string());
        let model = ask.model.to_str().expect("a path of this test");
        let route = ask.route.join(",");
        let mut arguments = vec![model, "--dht-prefix", &ask.prefix];
        arguments.extend(["--initial-peers", &ask.bootstrap]);
        arguments.extend(["--prompt-ids", &ids, "--max-tokens", &tokens]);
        arguments.extend(["--temperature", "0"]);
        arguments.extend(["--activation-codec", ask.codec]);
        if ask.past_the_end {
            arguments.push("--ignore-eos");
        }
        if !ask.push {
            arguments.push("--no-push");
        }
        if !ask.route.is_empty() {
            arguments.extend(["--route", &route]);
        }
        Self::spawn(name, &arguments)
    }

    /// Starts `swarm run` with `arguments`, `--stream` and `--json`, in a home of its own.
    pub fn spawn(name: &str, arguments: &[&str]) -> Self {
        let home = temporary("home");
        let mut command = Command::new(program("swarm"));
        command
            .arg("run")
            .args(arguments)
            .args(["--stream", "--json"]);
        at_home(&mut command, &home)
            .envs(std::env::var("RUST_LOG").map(|filter| ("RUST_LOG", filter)));
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

    /// The last line, which sums up, if it has been printed; a run may stay for a while after it.
    pub fn summary(&mut self) -> Option<&Value> {
        self.seen.extend(self.lines.try_iter());
        let last = &self.seen.last()?.value;
        last.get("route").map(|_| last)
    }

    /// Everything on standard error so far.
    pub fn log(&self) -> String {
        self.child.log()
    }

    /// Ends it at once.
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
