//! One `block-server` process on loopback, in a home folder of its own.

use std::io::BufReader;
use std::ops::Range;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::{next_line, program};
use crate::format::Format;

/// What a server serves.
#[derive(Clone, Debug)]
pub(crate) struct Holding<'a> {
    pub(crate) model: &'a Path,
    /// The DHT prefix.
    pub(crate) prefix: &'a str,
    pub(crate) blocks: Range<usize>,
    pub(crate) format: Format,
}

/// A running server, online.
#[derive(Debug)]
pub(crate) struct BlockServer {
    child: Child,
    /// `/ip4/127.0.0.1/tcp/PORT/p2p/PEER`.
    pub(crate) address: String,
    _home: TempDir,
}

impl BlockServer {
    /// Starts a server with one compute thread and waits until it is online. Without `initial_peer` it begins a swarm.
    ///
    /// # Errors
    /// If it ends instead; its log is on stderr.
    pub(crate) fn start(holding: &Holding<'_>, initial_peer: Option<&str>) -> Result<Self> {
        let home = TempDir::new()?;
        let mut command = Command::new(program("block-server")?);
        command
            .arg("--model")
            .arg(holding.model)
            .args(["--dht-prefix", holding.prefix])
            .args(["--dtype", holding.format.dtype().name()])
            .args(["--quant", holding.format.quant().name()])
            .args(["--threads", "1"])
            .arg("--blocks")
            .arg(format!("{}:{}", holding.blocks.start, holding.blocks.end))
            .args(["--listen-maddr", "/ip4/127.0.0.1/tcp/0"])
            .args(["--admin-listen", "127.0.0.1:0"])
            .args(["--max-sessions-per-peer", "64"])
            .args(["--throughput", "10", "--skip-reachability-check"])
            .env("HOME", home.path())
            .env("XDG_CONFIG_HOME", home.path().join("config"))
            .env("XDG_STATE_HOME", home.path().join("state"))
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if let Some(address) = initial_peer {
            command.args(["--initial-peers", address]);
        }
        let mut child = command.spawn().context("block-server")?;
        let stdout = child.stdout.take().context("its output is a pipe")?;
        let mut server = Self {
            child,
            address: String::new(),
            _home: home,
        };
        let mut lines = BufReader::new(stdout);
        let line = next_line(&mut server.child, &mut lines, "block-server")?;
        let address = line.strip_prefix("READY ");
        server.address = address.with_context(|| line.clone())?.to_owned();
        Ok(server)
    }
}

impl Drop for BlockServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
