//! The command line: subcommands and what they have in common.
//!
//! A value comes from the flag, else from `SWARM_<NAME>`, else from a configuration file, else from the default that
//! `--help` shows: see [`block_program::settings`].

mod bench_flags;
mod chat_flags;
mod demo_flags;
mod door_flags;
mod flags;
mod gateway_flags;
mod gateway_url_flags;
mod run_flags;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::ops::Range;

use block_program::Folders;
use block_program::settings::config_command::ConfigFlags;
use block_program::settings::foreign::Foreign;
use block_program::settings::{self, ParseError, Parsed, Program};
use block_program::shell_files::{CompletionsFlags, ManFlags};
use block_program::version::VersionFlags;
use clap::{Args, Parser, Subcommand};

pub(crate) use bench_flags::BenchFlags;
pub(crate) use chat_flags::ChatFlags;
pub(crate) use demo_flags::DemoFlags;
pub(crate) use door_flags::DoorFlags;
pub(crate) use flags::{LogFlags, ModelFlags, SwarmFlags};
pub(crate) use gateway_flags::{GatewayFlags, ServedFlags};
pub(crate) use gateway_url_flags::{GatewayUrlFlags, PsFlags, StopFlags};
pub(crate) use run_flags::{RunFlags, WayFlags};

/// Generates text over a swarm of Petals servers.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "swarm",
    version,
    about = "Generates text over a swarm of Petals servers, and shows what the swarm holds",
    after_help = EXAMPLES,
    disable_help_subcommand = true,
    subcommand_required = true,
    max_term_width = 110
)]
pub(crate) struct Cli {
    /// Log lines.
    #[command(flatten)]
    pub(crate) log: LogFlags,
    /// Configuration file, TOML or YAML, keys named as the flags; it wins over those in the configuration folders of the
    /// user and the system [default: none]
    #[arg(
        short,
        long,
        env = "SWARM_CONFIG",
        value_name = "FILE",
        global = true,
        hide_short_help = true,
        help_heading = "Log"
    )]
    pub(crate) config: Option<std::path::PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) task: Task,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Task {
    /// Answer one prompt, token by token
    Run(Box<RunFlags>),
    /// Serve OpenAI's HTTP API over the swarm
    Gateway(Box<GatewayFlags>),
    /// Talk with a model, turn by turn
    Chat(Box<ChatFlags>),
    /// Show who serves which blocks of a model
    Map(MapFlags),
    /// Fetch what a client needs of a model, and blocks if asked, into the hub cache
    Pull(PullFlags),
    /// List the models of the swarm
    #[command(visible_alias = "ls")]
    Models(ModelsFlags),
    /// List the servers of the swarm, and measure the way to each
    Peers(PeersFlags),
    /// Measure the way to one peer, and ask what it is
    Ping(PingFlags),
    /// List the sessions of a gateway
    Ps(PsFlags),
    /// End a session of a gateway
    Stop(StopFlags),
    /// Measure how fast answers come, from the swarm or from any OpenAI API
    Bench(Box<BenchFlags>),
    /// Run a DHT node that others join through, without blocks
    Bootstrap(BootstrapFlags),
    /// Start three servers on this machine, generate a story, lose one of them on the way; or chat with them on a page
    Demo(DemoFlags),
    /// Show, explain and write the settings that files hold
    Config(ConfigFlags),
    /// Print version, commit, backends and protocol
    Version(VersionFlags),
    /// Print the script that completes flags in a shell
    Completions(CompletionsFlags),
    /// Print a manual page, for man -l
    Man(ManFlags),
}

/// Flags of `swarm map`.
#[derive(Debug, Clone, Args)]
pub(crate) struct MapFlags {
    /// Which model.
    #[command(flatten)]
    pub(crate) model: ModelFlags,
    /// Which swarm.
    #[command(flatten)]
    pub(crate) swarm: SwarmFlags,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Show it on the whole terminal, drawn again as it changes; q leaves
    #[arg(long, conflicts_with = "json")]
    pub(crate) watch: bool,
}

/// Flags of `swarm pull`.
#[derive(Debug, Clone, Args)]
pub(crate) struct PullFlags {
    /// Which model.
    #[command(flatten)]
    pub(crate) model: ModelFlags,
    /// Fetch these blocks, too: 0:20 (20 not included) or all [default: none]
    #[arg(long, value_name = "RANGE", value_parser = parse_blocks)]
    pub(crate) blocks: Option<WantedBlocks>,
    /// Print one JSON object instead of lines
    #[arg(long)]
    pub(crate) json: bool,
}

/// Blocks that a flag names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WantedBlocks {
    /// All that the model has.
    All,
    /// Half-open, with at least one block.
    Range(Range<usize>),
}

/// Flags of `swarm peers`.
#[derive(Debug, Clone, Args)]
pub(crate) struct PeersFlags {
    /// Only servers of this model: a hub name, a local folder, a GGUF file or a DHT prefix [default: all models of the swarm]
    #[arg(value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// Which swarm.
    #[command(flatten)]
    pub(crate) swarm: SwarmFlags,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of `swarm models`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ModelsFlags {
    /// Which swarm.
    #[command(flatten)]
    pub(crate) swarm: SwarmFlags,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of `swarm ping`.
#[derive(Debug, Clone, Args)]
pub(crate) struct PingFlags {
    /// A multiaddr that ends in /p2p/PEER, or a peer id together with --initial-peers
    #[arg(value_name = "PEER")]
    pub(crate) peer: String,
    /// Which swarm.
    #[command(flatten)]
    pub(crate) swarm: SwarmFlags,
    /// How many pings
    #[arg(long, env = "SWARM_PING_COUNT", value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) count: u32,
    /// Print one JSON object instead of lines
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of `swarm bootstrap`.
#[derive(Debug, Clone, Args)]
pub(crate) struct BootstrapFlags {
    /// Multiaddrs to listen on, several with commas [default: /ip4/0.0.0.0/tcp/31330 and /ip6/::/tcp/31330]
    #[arg(
        long,
        env = "SWARM_LISTEN",
        value_name = "ADDR",
        value_delimiter = ',',
        visible_alias = "listen-maddr",
        alias = "host-maddrs"
    )]
    pub(crate) listen: Vec<String>,
    /// Multiaddrs to announce [default: the addresses of this machine]
    #[arg(
        long,
        env = "SWARM_ANNOUNCE_MADDR",
        value_name = "ADDR",
        value_delimiter = ',',
        alias = "announce-maddrs"
    )]
    pub(crate) announce_maddr: Vec<String>,
    /// Which swarm to join; none starts a new one.
    #[command(flatten)]
    pub(crate) swarm: SwarmFlags,
    /// Serve /metrics and /health on this address; port 0 takes a free one [default: off]
    #[arg(long, env = "SWARM_METRICS_LISTEN", value_name = "ADDR")]
    pub(crate) metrics_listen: Option<std::net::SocketAddr>,
    /// /metrics asks for the token in this file; an address other than loopback needs one [default: none]
    #[arg(long, env = "SWARM_METRICS_TOKEN_FILE", value_name = "FILE")]
    pub(crate) metrics_token_file: Option<std::path::PathBuf>,
}

/// Reads arguments (program name first), environment and configuration files.
///
/// # Errors
/// clap's own text, which includes `--help` and `--version`; a refused flag, or a configuration file that is wrong.
pub(crate) fn parse(
    args: impl IntoIterator<Item = OsString>,
    folders: &Folders,
) -> Result<Parsed<Cli>, ParseError> {
    settings::parse(&PROGRAM, args, folders)
}

/// What the settings of the two programs differ in. The flags that are dropped are those of `hivemind-dht`, which
/// `swarm bootstrap` stands in for.
pub(crate) const PROGRAM: Program = Program {
    name: "swarm",
    foreign: &[
        Foreign::ignored("refresh-period", 1, "the DHT is always kept fresh"),
        Foreign::ignored("use-relay", 1, "relays are not used in this version"),
        Foreign::ignored("use-auto-relay", 0, "relays are not used in this version"),
        Foreign::ignored("no-relay", 0, "relays are not used in this version"),
        Foreign::refused(
            "use-ipfs",
            "name peers with --initial-peers; the IPFS network is not asked",
        ),
    ],
    // A gateway that runs for months and a command beside it cannot be one peer.
    of_one_command: &["identity"],
};

fn parse_blocks(text: &str) -> Result<WantedBlocks, String> {
    if text == "all" {
        return Ok(WantedBlocks::All);
    }
    let range = text.split_once(':').and_then(|(start, end)| {
        let range = start.parse().ok()?..end.parse().ok()?;
        (range.start < range.end).then_some(range)
    });
    range.map(WantedBlocks::Range).ok_or_else(|| {
        "expected all, or a range such as 0:20, of which the end is not included".to_owned()
    })
}

const EXAMPLES: &str = "Examples:
  swarm demo                                                   three servers, one story, one of them killed on the way
  swarm demo --page                                            three servers, and a page to chat on
  swarm run MODEL \"Once upon a time\" --initial-peers ADDR      stream an answer
  swarm gateway --model MODEL --initial-peers ADDR             an OpenAI endpoint on 127.0.0.1:8000
  swarm chat MODEL --initial-peers ADDR                        talk with a model
  swarm map MODEL --initial-peers ADDR                         who serves which blocks
  swarm bootstrap --listen /ip4/0.0.0.0/tcp/31330              a first node for a private swarm

ADDR is what a server or swarm bootstrap prints after READY.
MODEL is a hub name, a local folder or a GGUF file.
Servers see numbers made from your text and can recover much of it: use a private swarm for what matters.";
