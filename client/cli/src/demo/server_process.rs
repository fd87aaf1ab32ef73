//! One `block-server` as a child process.

use std::fs::File;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use block_network::PeerId;
use block_program::{Exit, Failure, multiaddrs};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// What all servers of a demo share.
#[derive(Debug)]
pub(super) struct Stage {
    /// The server program.
    pub(super) program: PathBuf,
    /// Holds everything; removed at the end.
    pub(super) folder: TempDir,
    /// The model's own folder in it.
    pub(super) model: PathBuf,
    /// The address of this machine that the servers listen on.
    pub(super) ip: IpAddr,
    /// Whether servers of other machines may join.
    pub(super) is_shared: bool,
    /// Whether they take as long as those of a larger model.
    pub(super) is_slow: bool,
}

/// What one server holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// Name on the map.
    pub(super) name: &'static str,
    /// Blocks, as asked for.
    pub(super) blocks: &'static str,
    /// How long a block of a step takes it on a slow stage, milliseconds.
    pub(super) block_delay_ms: u32,
}

/// A server that is online. It is killed when this is dropped, and ends by itself when this process is killed.
#[derive(Debug)]
pub(super) struct ServerProcess {
    /// What it holds.
    pub(super) part: Part,
    /// Process id.
    pub(super) pid: u32,
    /// Address after READY.
    pub(super) address: String,
    /// Who it is in the swarm.
    pub(super) peer: PeerId,
    child: Child,
    /// Kept open: a server that cannot write is another server.
    _stdout: BufReader<ChildStdout>,
    /// The server ends when this is closed, which the system does when this process is killed.
    _stdin: ChildStdin,
}

/// A server that was started.
#[derive(Debug)]
pub(super) struct StartingServer {
    part: Part,
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    log: PathBuf,
}

impl ServerProcess {
    /// Starts one with files of its own under the stage's folder; without `ways_in` it starts a swarm. One that stood
    /// `before` comes back as the same peer at the same address.
    ///
    /// # Errors
    /// The program cannot be run (exit 71).
    pub(super) fn start(
        stage: &Stage,
        part: Part,
        ways_in: &[&str],
        before: Option<&Self>,
    ) -> Result<StartingServer, Failure> {
        let home = stage.folder.path().join(part.name);
        let log = stage.folder.path().join(format!("{}.log", part.name));
        let cannot = |error: &std::io::Error| {
            let program = stage.program.display();
            Failure::new(Exit::OsError, format!("cannot start {program}"))
                .caused_by(error)
                .hint("--block-server FILE names another program")
        };
        let stderr = std::fs::create_dir_all(&home)
            .and_then(|()| File::create(&log))
            .map_err(|error| cannot(&error))?;
        let listen = before.map_or_else(
            || multiaddrs::tcp(stage.ip, 0).to_string(),
            |before| before.listens_on().to_owned(),
        );
        let throughput = if stage.is_slow {
            1000 / part.block_delay_ms
        } else {
            ASSUMED_THROUGHPUT
        };
        let mut command = Command::new(&stage.program);
        // Nothing of this user's and this machine's settings: they may belong to a swarm that matters.
        command
            .env_clear()
            .env("HOME", &home)
            .env("HF_HUB_OFFLINE", "1")
            .current_dir(&home)
            .args(["--no-config-files", "--stop-with-stdin"])
            .args(["--blocks", part.blocks, "--public-name", part.name])
            .args(["--listen-maddr", &listen, "--admin-listen", "off"])
            .args(["--throughput", &throughput.to_string()])
            .args(["--update-period", "5", "--attn-cache-tokens", CACHE_TOKENS])
            .arg("--identity")
            .arg(home.join("identity.key"))
            .arg("--model")
            .arg(&stage.model);
        if stage.is_slow {
            let seconds = f64::from(part.block_delay_ms) / 1000.0;
            command.args(["--block-delay", &seconds.to_string()]);
        }
        if ways_in.is_empty() {
            command.arg("--new-swarm");
        } else {
            command.arg("--initial-peers").args(ways_in);
        }
        let mut child = command
            // Ctrl-C at the terminal is for the demo, which ends its servers itself.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| cannot(&error))?;
        // Both out of the child, which would close its input when it is waited for.
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::new(Exit::Software, "a child has no pipes"));
        };
        Ok(StartingServer {
            part,
            child,
            stdin,
            stdout: BufReader::new(stdout),
            log,
        })
    }

    /// Its address without the peer.
    fn listens_on(&self) -> &str {
        let address = self.address.split_once("/p2p/");
        address.map_or(self.address.as_str(), |(address, _)| address)
    }

    /// Waits until the process has ended. Dropping this loses nothing.
    pub(super) async fn ended(&mut self) {
        loop {
            match self.child.wait().await {
                Ok(_) => return,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // Nothing will ever be heard of it.
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// SIGKILL, and waits until the process is gone.
    pub(super) async fn kill(&mut self) {
        if let Err(error) = self.child.kill().await {
            tracing::debug!(name = self.part.name, %error, "a server was gone already");
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
            part: self.part,
            pid,
            address,
            peer,
            child: self.child,
            _stdout: self.stdout,
            _stdin: self.stdin,
        })
    }

    fn failure(&self) -> Failure {
        let failure = Failure::new(
            Exit::Unavailable,
            format!("server {} of the demo did not come up", self.part.name),
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
const ASSUMED_THROUGHPUT: u32 = 100;
/// Cache per block: enough for a few stories at once, so that the demo runs on a small machine.
const CACHE_TOKENS: &str = "2048";
/// Longest READY line.
const MAX_READY_BYTES: u64 = 4096;
/// Lines of its log that a failed start shows.
const LOG_LINES: usize = 8;
