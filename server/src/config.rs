//! The validated configuration: what `run` may rely on without looking again.

mod model_choice;
mod swarm_choice;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use block_network::{Keypair, Multiaddr, PeerId, identity};
use block_program::peers_file::PeersFile;
use block_program::{Exit, Failure, Folders, LogOptions, MemberOptions, Secret};
use block_protocol::Compression;

pub use model_choice::ModelChoice;
pub use swarm_choice::SwarmChoice;

use crate::addresses::{self, Announce};
use crate::cli::{Cli, LimitFlags, Throughput};

/// Everything a server needs to know before it starts; made by [`Config::from_cli`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Which model, and which part of it.
    pub model: ModelChoice,
    /// Threads that compute; `None` = one for each physical core.
    pub threads: Option<usize>,
    /// Which swarm.
    pub swarm: SwarmChoice,
    /// Key prefix in the DHT; `None` derives it from the model.
    pub dht_prefix: Option<String>,
    /// Shown on monitors.
    pub public_name: Option<String>,
    /// Key file.
    pub identity: PathBuf,
    /// Time between two announcements.
    pub update_period: Duration,
    /// How long an announcement lives.
    pub expiration: Duration,
    /// Multiaddrs to listen on.
    pub listen: Vec<Multiaddr>,
    /// Whether `listen` follows from the port alone, so that a missing IPv6 is no error.
    pub listen_is_default: bool,
    /// Multiaddrs to announce.
    pub announce: Announce,
    /// Longest wait for a first peer to join through.
    pub join_timeout: Duration,
    /// Who is answered; `None` = everybody.
    pub trusted_peers: Option<HashSet<PeerId>>,
    /// Whether the router is asked to forward the port.
    pub upnp: bool,
    /// A file of initial peers that is read again on SIGHUP, and the ones beside it.
    pub initial_peers_file: Option<PeersFile>,
    /// Ask others whether they can reach this server.
    pub check_reachability: bool,
    /// Bounds on sessions, memory and time.
    pub limits: Limits,
    /// Where the announced throughput comes from.
    pub throughput: Throughput,
    /// Assumed network speed, Mbit/s.
    pub network_mbps: f64,
    /// When to move to other blocks.
    pub balance: Balance,
    /// Packing of replies when the client does not say.
    pub compression: Compression,
    /// Wait for each block of a step; zero but for demonstrations and tests.
    pub block_delay: Duration,
    /// Where hub files come from.
    pub hub: HubAccess,
    /// Admin port.
    pub admin: Admin,
    /// File with figures of earlier throughput measurements.
    pub throughput_file: PathBuf,
    /// Print the plan and end.
    pub dry_run: bool,
}

/// Bounds on sessions, memory and time. Token counts that are `None` follow the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Memory for everything; `None` = what the system has available.
    pub memory_bytes: Option<u64>,
    /// KV cache, tokens for each block.
    pub attn_cache_tokens: Option<u64>,
    /// Longest session, tokens.
    pub inference_max_length: Option<u64>,
    /// Most tokens of one request.
    pub max_batch_size: Option<u64>,
    /// Open sessions.
    pub max_sessions: usize,
    /// Open sessions of one peer.
    pub max_sessions_per_peer: usize,
    /// Cap on the wait for cache memory.
    pub max_alloc_timeout: Duration,
    /// Longest forward request or push.
    pub request_timeout: Duration,
    /// Longest life of a session.
    pub session_timeout: Duration,
    /// Longest wait for the next step.
    pub step_timeout: Duration,
    /// Longest wait for running steps on stop.
    pub drain_timeout: Duration,
}

/// When a server whose place is not fixed moves to other blocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Balance {
    /// Share of the reachable throughput below which it moves; 0 = never, above 1 = always.
    pub quality: f64,
    /// Mean time between two looks.
    pub mean_check_period: Duration,
}

/// How the hub is used.
#[derive(Debug, Clone, Default)]
pub struct HubAccess {
    /// No call leaves this machine.
    pub offline: bool,
    /// Token for gated models; `None` leaves it to the hub's own variables and files.
    pub token: Option<Secret>,
    /// Cache folder; `None` = the one shared with Python tools.
    pub cache_dir: Option<PathBuf>,
}

/// The admin port.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Where it listens; `None` = off.
    pub listen: Option<SocketAddr>,
    /// Token it asks for.
    pub token: Option<Secret>,
}

/// Log options of a command line: `-v` raises and `-q` lowers `--log-level`.
pub fn log_options(cli: &Cli) -> LogOptions {
    let operate = &cli.serving.operate;
    LogOptions::new(
        OUR_CRATES,
        operate.log_level,
        operate.verbose,
        operate.quiet,
        operate.log_format,
    )
    .with_color(operate.color)
}

impl Config {
    /// Checks what one flag alone cannot know.
    ///
    /// `variable` reads an environment variable of the hub (`HF_HUB_OFFLINE`).
    ///
    /// # Errors
    /// One sentence that names the flag and what it accepts (exit 2), a missing
    /// model folder (66), or an unreadable token file (77 or 66).
    pub fn from_cli(
        cli: Cli,
        folders: &Folders,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Failure> {
        let model = ModelChoice::from_cli(&cli)?;
        refuse_unbuilt(&cli)?;
        let swarm = SwarmChoice::from_cli(&cli)?;
        if let Some(prefix) = &cli.serving.model.dht_prefix {
            check_prefix(prefix)?;
        }
        let listen = addresses::listen(&cli.serving.network)?;
        let announce = addresses::announce(&cli.serving.network)?;
        let update_period = cli.serving.swarm.update_period;
        let expiration = expiration(update_period, cli.serving.swarm.expiration)?;
        if !(cli.serving.speed.network_mbps.is_finite() && cli.serving.speed.network_mbps > 0.0) {
            return Err(Failure::usage("--network-mbps accepts a number above 0"));
        }
        let threads = cli.serving.model.threads.map(usize::try_from);
        Ok(Self {
            model,
            threads: threads.and_then(Result::ok),
            dht_prefix: cli.serving.model.dht_prefix.clone(),
            public_name: cli.serving.swarm.public_name.clone(),
            identity: cli
                .serving
                .swarm
                .identity
                .clone()
                .unwrap_or_else(|| folders.default_identity_file()),
            update_period,
            expiration,
            listen_is_default: cli.serving.network.listen_maddr.is_empty(),
            listen,
            announce,
            join_timeout: cli.serving.swarm.join_timeout,
            trusted_peers: trusted_peers(&cli.serving.network.trusted_peers)?,
            upnp: cli.serving.network.upnp,
            initial_peers_file: cli
                .serving
                .swarm
                .initial_peers_file
                .clone()
                .map(|file| PeersFile::new(file, cli.serving.swarm.initial_peers.clone())),
            check_reachability: !cli.serving.network.skip_reachability_check
                && swarm.may_have_others(),
            swarm,
            limits: limits(&cli.serving.limits),
            throughput: cli.serving.speed.throughput,
            network_mbps: cli.serving.speed.network_mbps,
            balance: Balance {
                quality: cli.serving.speed.balance_quality,
                mean_check_period: cli.serving.speed.mean_balance_check_period,
            },
            compression: cli.serving.speed.compression.0,
            block_delay: cli.serving.speed.block_delay.unwrap_or_default(),
            hub: hub_access(&cli, variable)?,
            admin: admin(&cli)?,
            throughput_file: folders.state_file("throughput.json"),
            dry_run: cli.serving.operate.dry_run,
        })
    }

    /// How this server joins its swarm.
    pub(crate) fn member(&self, keypair: Keypair) -> MemberOptions {
        MemberOptions {
            keypair,
            listen: self.listen.clone(),
            listen_is_default: self.listen_is_default,
            announce: match &self.announce {
                Announce::Listening => Vec::new(),
                Announce::Fixed(addresses) => addresses.clone(),
            },
            initial_peers: self.swarm.initial_peers().to_vec(),
            is_on_lan: self.swarm == SwarmChoice::Lan,
            upnp: self.upnp,
            join_timeout: self.join_timeout,
            only_dials: false,
        }
    }

    /// How a visitor joins who only looks around, under a name of its own.
    pub(crate) fn visitor(&self) -> MemberOptions {
        MemberOptions {
            keypair: identity::ephemeral(),
            listen: Vec::new(),
            listen_is_default: false,
            announce: Vec::new(),
            initial_peers: self.swarm.initial_peers().to_vec(),
            is_on_lan: self.swarm == SwarmChoice::Lan,
            upnp: false,
            join_timeout: self.join_timeout,
            only_dials: true,
        }
    }
}

fn refuse_unbuilt(cli: &Cli) -> Result<(), Failure> {
    if !matches!(cli.serving.model.device.as_str(), "auto" | "cpu") {
        return Err(Failure::new(
            Exit::Unavailable,
            format!("no device {}", cli.serving.model.device),
        )
        .cause("this build computes on: cpu")
        .hint("--device cpu"));
    }
    Ok(())
}

fn trusted_peers(given: &[String]) -> Result<Option<HashSet<PeerId>>, Failure> {
    // An empty variable or list was meant to name somebody; it must not open the server to all.
    if !given.is_empty() && given.iter().all(String::is_empty) {
        return Err(Failure::usage("--trusted-peers names nobody")
            .hint("name at least one peer, or leave it out to answer everybody"));
    }
    let parsed = given.iter().map(|text| {
        text.parse::<PeerId>().map_err(|error| {
            Failure::usage(format!("--trusted-peers: {text} is not a peer id"))
                .caused_by(&error)
                .hint("a peer id looks like 12D3KooW…; block-server identity show tells that of a server, a refusal that of a client")
        })
    });
    let parsed: HashSet<PeerId> = parsed.collect::<Result<_, _>>()?;
    Ok((!parsed.is_empty()).then_some(parsed))
}

fn check_prefix(prefix: &str) -> Result<(), Failure> {
    block_protocol::uid::validate_prefix(prefix).map_err(|error| {
        Failure::usage(format!("--dht-prefix {prefix:?} cannot be used")).caused_by(&error)
    })
}

/// Petals' rule: two periods, at least 3 s.
fn expiration(update_period: Duration, given: Option<Duration>) -> Result<Duration, Failure> {
    let expiration = given.unwrap_or_else(|| (update_period * 2).max(MIN_EXPIRATION));
    if expiration <= update_period {
        return Err(Failure::usage(format!(
            "--expiration accepts more than the update period, which is {} s",
            update_period.as_secs_f64()
        ))
        .cause("the announcement would lapse before the next one"));
    }
    Ok(expiration)
}

fn limits(flags: &LimitFlags) -> Limits {
    let count = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    Limits {
        memory_bytes: flags.memory_limit,
        attn_cache_tokens: flags.attn_cache_tokens,
        inference_max_length: flags.inference_max_length,
        max_batch_size: flags.max_batch_size,
        max_sessions: count(flags.max_sessions),
        max_sessions_per_peer: count(flags.max_sessions_per_peer),
        max_alloc_timeout: flags.max_alloc_timeout,
        request_timeout: flags.request_timeout,
        session_timeout: flags.session_timeout,
        step_timeout: flags.step_timeout,
        drain_timeout: flags.drain_timeout,
    }
}

fn hub_access(cli: &Cli, variable: &dyn Fn(&str) -> Option<String>) -> Result<HubAccess, Failure> {
    let offline =
        cli.serving.files.offline || variable("HF_HUB_OFFLINE").is_some_and(|value| is_on(&value));
    let token = match (&cli.serving.files.token, &cli.serving.files.token_file) {
        (Some(token), _) => Some(Secret::new(token.clone())),
        (None, Some(file)) => Some(Secret::read("--token-file", file)?),
        (None, None) => None,
    };
    Ok(HubAccess {
        offline,
        token,
        cache_dir: cli.serving.files.cache_dir.clone(),
    })
}

/// The hub's own rule for switches in the environment.
fn is_on(value: &str) -> bool {
    ["1", "on", "yes", "true"]
        .iter()
        .any(|on| value.eq_ignore_ascii_case(on))
}

fn admin(cli: &Cli) -> Result<Admin, Failure> {
    let token = match &cli.serving.operate.admin_token_file {
        Some(file) => Some(Secret::read("--admin-token-file", file)?),
        None => None,
    };
    let text = cli.serving.operate.admin_listen.as_str();
    if text.eq_ignore_ascii_case("off") {
        return Ok(Admin {
            listen: None,
            token,
        });
    }
    let listen: SocketAddr = text.parse().map_err(|_| {
        Failure::usage(format!(
            "--admin-listen accepts an address with a port, or off; got {text:?}"
        ))
        .hint("--admin-listen 127.0.0.1:31331")
    })?;
    if !listen.ip().is_loopback() && token.is_none() {
        return Err(Failure::usage(format!(
            "--admin-listen {listen} would be open to other machines"
        ))
        .hint("name a file with a token in --admin-token-file, or listen on 127.0.0.1"));
    }
    Ok(Admin {
        listen: Some(listen),
        token,
    })
}

/// The crates of this program, as log targets.
const OUR_CRATES: &[&str] = &[
    "block_server",
    "block_program",
    "block_network",
    "block_model",
    "block_protocol",
];
/// Shortest life of an announcement by Petals' rule.
const MIN_EXPIRATION: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
