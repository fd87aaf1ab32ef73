//! `swarm gateway` as a child process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use crate::PATIENCE;
use crate::child::Child;
use crate::folders::temporary;
use crate::home::at_home;
use crate::janitor::Farewell;
use crate::programs::program;

/// A running gateway.
#[derive(Debug)]
pub struct HttpGateway {
    child: Child,
    first_line: Mutex<Receiver<String>>,
}

impl HttpGateway {
    /// Starts a gateway to `model` on a free loopback port, in a home of its own, without waiting for it.
    pub fn spawn(name: &str, model: &Path, initial_peer: &str, flags: &[&str]) -> Self {
        let home = temporary(&format!("{name}.home"));
        let mut command = Command::new(program("swarm"));
        command
            .args(["gateway", "--listen", "127.0.0.1:0", "--model"])
            .arg(model)
            .args(["--initial-peers", initial_peer])
            .args(flags);
        at_home(&mut command, &home)
            .envs(std::env::var("RUST_LOG").map(|filter| ("RUST_LOG", filter)));
        let mut child = Child::spawn(name, command, Farewell::Terminate);
        let (sender, first_line) = sync_channel(1);
        let stdout = child.take_stdout();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Only the first is waited for; the rest is read so that the program never blocks.
                drop(sender.try_send(line));
            }
        });
        Self {
            child,
            first_line: Mutex::new(first_line),
        }
    }

    /// Waits until it listens: `http://127.0.0.1:PORT`.
    pub fn await_ready(&self) -> String {
        let line = self.first_line.lock().unwrap().recv_timeout(PATIENCE);
        let url = line
            .as_ref()
            .ok()
            .and_then(|line| line.strip_prefix("READY "));
        url.map(str::to_owned)
            .unwrap_or_else(|| panic!("{}", self.child.complaint(&format!("no READY: {line:?}"))))
    }

    /// Everything on standard error so far.
    pub fn log(&self) -> String {
        self.child.log()
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&self) {
        self.child.terminate();
    }
}
