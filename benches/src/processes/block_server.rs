//! One `block-server` process on loopback, in a home folder of its own.

use std::ops::Range;
use std::path::Path;

use anyhow::Result;

use super::own_program::OwnProgram;
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
    /// `/ip4/127.0.0.1/tcp/PORT/p2p/PEER`.
    pub(crate) address: String,
    _process: OwnProgram,
}

impl BlockServer {
    /// Starts a server with one compute thread and waits until it is online. Without `initial_peer` it begins a swarm.
    ///
    /// # Errors
    /// If it ends instead; its log is on stderr.
    pub(crate) fn start(holding: &Holding<'_>, initial_peer: Option<&str>) -> Result<Self> {
        let (_process, address) = OwnProgram::start("block-server", |command| {
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
                .args(["--throughput", "10", "--skip-reachability-check"]);
            if let Some(address) = initial_peer {
                command.args(["--initial-peers", address]);
            }
        })?;
        Ok(Self { address, _process })
    }
}
