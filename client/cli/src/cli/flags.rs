//! Flags that several subcommands share. The doc comment of a field is its help text.

use std::path::PathBuf;
use std::time::Duration;

use block_program::{Color, LogFormat};
use clap::Args;
use clap::builder::BoolishValueParser;

/// Which swarm.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Swarm")]
pub(crate) struct SwarmFlags {
    /// Join through this multiaddr, which ends in /p2p/PEER; give the flag again, or commas, for more [default: none]
    #[arg(
        long,
        env = "SWARM_INITIAL_PEERS",
        value_name = "ADDR",
        value_delimiter = ','
    )]
    pub(crate) initial_peers: Vec<String>,

    /// File with more addresses to join through, one on a line, # begins a comment; the gateway and
    /// swarm bootstrap read it again on SIGHUP [default: none]
    #[arg(
        long,
        env = "SWARM_INITIAL_PEERS_FILE",
        value_name = "FILE",
        hide_short_help = true
    )]
    pub(crate) initial_peers_file: Option<PathBuf>,

    /// Join the public Petals swarm
    #[arg(long, env = "SWARM_PUBLIC_SWARM", value_parser = BoolishValueParser::new())]
    pub(crate) public_swarm: bool,

    /// Join the swarm of the local network: find a server that runs with --lan, by mDNS
    #[arg(long, env = "SWARM_LAN", value_parser = BoolishValueParser::new())]
    pub(crate) lan: bool,

    /// Key file, written with mode 0600 if absent: it keeps this peer's id, by which servers with --trusted-peers know it
    /// [default: a new id each time; of swarm bootstrap, identity.key in the state folder]
    #[arg(
        long,
        env = "SWARM_IDENTITY",
        value_name = "FILE",
        alias = "identity-path",
        hide_short_help = true
    )]
    pub(crate) identity: Option<PathBuf>,

    /// Longest wait for one of the initial peers to answer, in seconds
    #[arg(long, env = "SWARM_JOIN_TIMEOUT", value_name = "S", default_value = "60", value_parser = parse_seconds, hide_short_help = true)]
    pub(crate) join_timeout: Duration,
}

/// Which model, and where its files come from.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelFlags {
    /// A hub name (ORG/NAME), a local folder or a GGUF file
    #[arg(value_name = "MODEL")]
    pub(crate) model: String,

    /// Prefix of the model's DHT keys [default: from the model's name by Petals' rule, as servers derive it]
    #[arg(
        long,
        env = "SWARM_DHT_PREFIX",
        value_name = "P",
        hide_short_help = true
    )]
    pub(crate) dht_prefix: Option<String>,

    /// Where its files come from.
    #[command(flatten)]
    pub(crate) hub: HubFlags,
}

/// Where a model's files come from; listed under the heading of whoever has them.
#[derive(Debug, Clone, Args)]
pub(crate) struct HubFlags {
    /// Branch, tag or commit on the hub
    #[arg(
        long,
        env = "SWARM_REVISION",
        value_name = "REV",
        default_value = "main",
        hide_short_help = true
    )]
    pub(crate) revision: String,

    /// Make no call to the hub; HF_HUB_OFFLINE does the same
    #[arg(long, env = "SWARM_OFFLINE", value_parser = BoolishValueParser::new(), hide_short_help = true)]
    pub(crate) offline: bool,

    /// Hub token for gated models; visible to other users of this machine, prefer --token-file
    /// [default: HF_TOKEN, then the hub's own token file]
    #[arg(
        long,
        env = "SWARM_TOKEN",
        value_name = "T",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub(crate) token: Option<String>,

    /// File with the hub token [default: none]
    #[arg(
        long,
        env = "SWARM_TOKEN_FILE",
        value_name = "FILE",
        conflicts_with = "token",
        hide_short_help = true
    )]
    pub(crate) token_file: Option<PathBuf>,

    /// Hub cache, shared with Python tools [default: HF_HUB_CACHE, else hub in HF_HOME, else ~/.cache/huggingface/hub]
    #[arg(
        long,
        env = "SWARM_CACHE_DIR",
        value_name = "DIR",
        hide_short_help = true
    )]
    pub(crate) cache_dir: Option<PathBuf>,
}

impl ModelFlags {
    /// A model by its name alone.
    pub(crate) fn named(model: &str) -> Self {
        Self {
            model: model.to_owned(),
            dht_prefix: None,
            hub: HubFlags {
                revision: "main".to_owned(),
                offline: false,
                token: None,
                token_file: None,
                cache_dir: None,
            },
        }
    }
}

/// Log lines, all on stderr.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Log")]
pub(crate) struct LogFlags {
    /// Log level: error, warn, info, debug or trace; RUST_LOG wins
    #[arg(
        long,
        env = "SWARM_LOG_LEVEL",
        value_name = "L",
        default_value = "warn",
        hide_short_help = true,
        global = true
    )]
    pub(crate) log_level: tracing::Level,

    /// More log lines; twice for all [default: 0]
    #[arg(short, long, env = "SWARM_VERBOSE", action = clap::ArgAction::Count, hide_short_help = true, global = true)]
    pub(crate) verbose: u8,

    /// Log format: auto (readable on a terminal, plain in a pipe) or json
    #[arg(
        long,
        env = "SWARM_LOG_FORMAT",
        value_name = "F",
        default_value = "auto",
        hide_short_help = true,
        global = true
    )]
    pub(crate) log_format: LogFormat,

    /// Colours of log lines: auto (on a terminal), always or never; NO_COLOR and CLICOLOR_FORCE count for auto
    #[arg(
        long,
        env = "SWARM_COLOR",
        value_name = "WHEN",
        default_value = "auto",
        hide_short_help = true,
        global = true
    )]
    pub(crate) color: Color,
}

/// Seconds as a flag gives them.
pub(super) fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse::<f64>()
        .map_err(|_| "expected a number of seconds".to_owned())?;
    if seconds > 0.0 && seconds <= MAX_SECONDS {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!(
            "expected seconds above 0 and at most {MAX_SECONDS}"
        ))
    }
}

/// Longest duration a flag accepts: one day, so that deadlines never overflow.
const MAX_SECONDS: f64 = 24.0 * 3600.0;
