//! One `block-server` as a child process.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use block_network::PeerId;
use block_program::{Exit, Failure, multiaddrs};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// A server that is online. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct ServerProcess {
    /// Name on the map.
    pub(super) name: &'static str,
    /// Blocks, as asked for.
    pub(super) blocks: &'static str,
    /// Process id.
    pub(super) pid: u32,
    /// Address after READY.
    pub(super) address: String,
    /// Who it is in the swarm.
    pub(super) peer: PeerId,
    child: Child,
    /// Kept open: a server that cannot write is another server.
    _stdout: BufReader<ChildStdout>,
}

/// A server that was started.
#[derive(Debug)]
pub(super) struct StartingServer {
    name: &'static str,
    blocks: &'static str,
    child: Child,
    stdout: BufReader<ChildStdout>,
    log: PathBuf,
}

impl ServerProcess {
    /// Starts one with files of its own under `folder`; without `way_in` it starts a swarm.
    ///
    /// # Errors
    /// The program cannot be run (exit 71).
    pub(super) fn start(
        program: &Path,
        folder: &Path,
        model: &Path,
        (name, blocks): (&'static str, &'static str),
        way_in: Option<&str>,
    ) -> Result<StartingServer, Failure> {
        let home = folder.join(name);
        let log = folder.join(format!("{name}.log"));
        let cannot = |error: &std::io::Error| {
            Failure::new(Exit::OsError, format!("cannot start {}", program.display()))
                .caused_by(error)
                .hint("--block-server FILE names another program")
        };
        let stderr = std::fs::create_dir(&home)
            .and_then(|()| File::create(&log))
            .map_err(|error| cannot(&error))?;
        let mut command = Command::new(program);
        // Nothing of this user's settings: they may belong to a swarm that matters.
        command
            .env_clear()
            .env("HOME", &home)
            .env("HF_HUB_OFFLINE", "1")
            .current_dir(&home)
            .args(["--blocks", blocks, "--public-name", name])
            .args(["--listen-maddr", "/ip4/127.0.0.1/tcp/0"])
            .args(["--admin-listen", "off", "--throughput", ASSUMED_THROUGHPUT])
            .args(["--update-period", "5", "--attn-cache-tokens", CACHE_TOKENS])
            .arg("--identity")
            .arg(home.join("identity.key"))
            .arg("--model")
            .arg(model);
        match way_in {
            Some(address) => command.args(["--initial-peers", address]),
            None => command.arg("--new-swarm"),
        };
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| cannot(&error))?;
        let stdout = child
            .stdout
            .take()
            .ok_or_else(|| Failure::new(Exit::Software, "a child has no standard output"))?;
        Ok(StartingServer {
            name,
            blocks,
            child,
            stdout: BufReader::new(stdout),
            log,
        })
    }

    /// SIGKILL, and waits until the process is gone.
    pub(super) async fn kill(&mut self) {
        if let Err(error) = self.child.kill().await {
            tracing::debug!(name = self.name, %error, "a server was gone already");
        }
    }
}

impl StartingServer {
    /// Waits until it prints READY.
    ///
    /// # Errors
    /// It ends, or says nothing in time (exit 69); the last lines of its log are the causes.
    pub(super) async fn ready(mut self, deadline: Duration) -> Result<ServerProcess, Failure> {
        let mut line = String::new();
        let mut bounded = (&mut self.stdout).take(MAX_READY_BYTES);
        let read = timeout(deadline, bounded.read_line(&mut line)).await;
        let address = line.trim_end().strip_prefix("READY ");
        let (Ok(Ok(_)), Some(address)) = (read, address) else {
            return Err(self.failure());
        };
        let address = address.to_owned();
        let parsed = multiaddrs::parse("READY", &address)?;
        let (Some(peer), Some(pid)) = (multiaddrs::peer_of(&parsed), self.child.id()) else {
            return Err(self.failure());
        };
        Ok(ServerProcess {
            name: self.name,
            blocks: self.blocks,
            pid,
            address,
            peer,
            child: self.child,
            _stdout: self.stdout,
        })
    }

    fn failure(&self) -> Failure {
        let failure = Failure::new(
            Exit::Unavailable,
            format!("server {} of the demo did not come up", self.name),
        )
        .hint("check that block-server and swarm are of one build: cargo build --release");
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines
            .iter()
            .skip(lines.len().saturating_sub(LOG_LINES))
            .fold(failure, |failure, line| failure.cause(*line))
    }
}

/// Tokens per second that the servers announce, all alike: measuring them would take longer than the story.
const ASSUMED_THROUGHPUT: &str = "100";
/// Cache per block: enough for one story, so that the demo runs on a small machine.
const CACHE_TOKENS: &str = "2048";
/// Longest READY line.
const MAX_READY_BYTES: u64 = 4096;
/// Lines of its log that a failed start shows.
const LOG_LINES: usize = 8;
