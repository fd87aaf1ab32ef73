//! The `block-server` binary as a child process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::PATIENCE;
use crate::child::Child;
use crate::folders::temporary;
use crate::janitor::Farewell;
use crate::programs::program;

/// A running server.
#[derive(Debug)]
pub struct BlockServer {
    child: Child,
    first_line: Mutex<Receiver<String>>,
    further_lines: Arc<Mutex<Vec<String>>>,
}

/// What a server holds and calls it.
#[derive(Debug)]
pub struct Span<'a> {
    /// The DHT prefix of the model.
    pub prefix: &'a str,
    /// `first:end`, half-open.
    pub blocks: &'a str,
    /// As the server's flag spells it.
    pub dtype: &'a str,
    /// More flags.
    pub flags: &'a [&'a str],
}

/// By what others know a server that is online.
#[derive(Clone, Debug)]
pub struct Contact {
    /// The peer id, in base58.
    pub peer_id: String,
    /// Where others join through it: `/ip4/127.0.0.1/tcp/PORT/p2p/PEER`.
    pub address: String,
}

impl BlockServer {
    /// Starts a server for a span of `model`, without waiting for it; without `initial_peer` it begins a swarm.
    pub fn spawn<'a>(
        name: &str,
        model: &Path,
        span: &Span<'_>,
        initial_peer: impl Into<Option<&'a str>>,
    ) -> Self {
        let identity = temporary(&format!("{name}.identity"));
        // A peer id that the swarm has not seen: records of an earlier run's server must not count.
        drop(std::fs::remove_file(&identity));
        let mut command = Command::new(program("block-server"));
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
            .args(["--listen-maddr", "/ip4/127.0.0.1/tcp/0"])
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
            .arg(identity)
            .args(span.flags);
        if let Some(address) = initial_peer.into() {
            command.args(["--initial-peers", address]);
        }
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
    pub fn await_ready(&self) -> Contact {
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
                address: address.to_owned(),
            })
        });
        contact
            .unwrap_or_else(|| panic!("{} printed {line:?} where READY belongs", self.child.name()))
    }

    /// What the server printed on its standard output after the READY line; should be nothing.
    pub fn further_output(&self) -> Vec<String> {
        self.further_lines.lock().unwrap().clone()
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        self.child.log()
    }

    /// SIGKILL: no farewell to anybody.
    pub fn kill(&self) {
        self.child.kill();
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.child.pause();
    }

    /// SIGTERM, and waits for the process to end.
    pub fn terminate(&self) {
        self.child.terminate();
    }
}
