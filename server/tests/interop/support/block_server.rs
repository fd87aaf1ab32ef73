//! The `block-server` binary as a child process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use super::child::Child;
use super::janitor::Farewell;
use super::{PATIENCE, temporary};

#[derive(Debug)]
pub(crate) struct BlockServer {
    child: Child,
    first_line: Mutex<Receiver<String>>,
    further_lines: Arc<Mutex<Vec<String>>>,
}

/// What a server holds and calls it.
#[derive(Debug)]
pub(crate) struct Span<'a> {
    pub(crate) prefix: &'a str,
    /// `first:end`, half-open.
    pub(crate) blocks: &'a str,
    pub(crate) dtype: &'a str,
}

/// By what others know a server that is online.
#[derive(Clone, Debug)]
pub(crate) struct Contact {
    pub(crate) peer_id: String,
}

impl BlockServer {
    /// Starts a server for a span of `model`, without waiting for it.
    pub(crate) fn spawn(name: &str, model: &Path, span: &Span<'_>, initial_peer: &str) -> Self {
        let identity = temporary(&format!("{name}.identity"));
        // A peer id that the swarm has not seen: records of an earlier run's server must not count.
        drop(std::fs::remove_file(&identity));
        let mut command = Command::new(env!("CARGO_BIN_EXE_block-server"));
        command
            .arg("--model")
            .arg(model)
            .args([
                "--blocks",
                span.blocks,
                "--dht-prefix",
                span.prefix,
                "--dtype",
                span.dtype,
            ])
            .args([
                "--initial-peers",
                initial_peer,
                "--listen-maddr",
                "/ip4/127.0.0.1/tcp/0",
            ])
            .args([
                "--admin-listen",
                "127.0.0.1:0",
                "--throughput",
                "10",
                "--update-period",
                "15",
            ])
            .arg("--skip-reachability-check")
            .arg("--identity")
            .arg(identity);
        let mut child = Child::spawn(name, command, Farewell::Terminate);
        let (sender, first_line) = sync_channel(1);
        let further_lines = Arc::new(Mutex::new(Vec::new()));
        let (stdout, of_reader) = (child.take_stdout(), Arc::clone(&further_lines));
        thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            if let Some(line) = lines.next() {
                drop(sender.try_send(line));
            }
            for line in lines {
                of_reader.lock().unwrap().push(line);
            }
        });
        Self {
            child,
            first_line: Mutex::new(first_line),
            further_lines,
        }
    }

    /// Waits for the line `READY <multiaddr>`.
    pub(crate) fn await_ready(&self) -> Contact {
        let line = match self.first_line.lock().unwrap().recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(error) => panic!(
                "{}",
                self.child.complaint(&format!("no READY line: {error}"))
            ),
        };
        let contact = line.strip_prefix("READY ").and_then(|address| {
            let (_, peer_id) = address.rsplit_once("/p2p/")?;
            Some(Contact {
                peer_id: peer_id.to_owned(),
            })
        });
        contact
            .unwrap_or_else(|| panic!("{} printed {line:?} where READY belongs", self.child.name()))
    }

    /// What the server printed on its standard output after the READY line; should be nothing.
    pub(crate) fn further_output(&self) -> Vec<String> {
        self.further_lines.lock().unwrap().clone()
    }

    /// SIGTERM, and waits for the process to end.
    pub(crate) fn terminate(&self) {
        self.child.terminate();
    }
}
