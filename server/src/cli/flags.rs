//! Every flag, in the order of `--help`.
//!
//! The doc comment of a field is its help text. A flag's environment variable is
//! `BLOCK_SERVER_` and its long name, its file key is its long name. Hidden
//! aliases are Petals' spellings (with `_` already turned into `-`).

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::values::{
    Blocks, CompressionName, Throughput, parse_public_name, parse_quality, parse_seconds,
    parse_size,
};

/// What is served.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Model")]
pub struct ModelFlags {
    /// Model: a hub name (ORG/NAME), a local folder or a GGUF file
    #[arg(value_name = "MODEL")]
    pub positional_model: Option<String>,

    /// Model: a hub name (ORG/NAME), a local folder or a GGUF file; the same as the positional MODEL
    /// [default: none, required]
    #[arg(
        long,
        env = "BLOCK_SERVER_MODEL",
        value_name = "M",
        alias = "converted-model-name-or-path"
    )]
    pub model: Option<String>,

    /// Blocks to serve: a range 0:20 (end not included), a count 12 (where the swarm needs them), all,
    /// or auto (as many as fit in memory, where the swarm needs them)
    #[arg(long, env = "BLOCK_SERVER_BLOCKS", value_name = "RANGE", default_value = "auto", aliases = ["block-indices", "num-blocks"])]
    pub blocks: Blocks,

    /// Branch, tag or commit on the hub
    #[arg(
        long,
        env = "BLOCK_SERVER_REVISION",
        value_name = "REV",
        default_value = "main",
        hide_short_help = true
    )]
    pub revision: String,

    /// Number format of the blocks: auto, bf16, f16 or f32; auto takes the checkpoint's, with
    /// float32 read as bf16 as Petals does. It is that of the hidden states between blocks; the
    /// weights keep the checkpoint's own unless --quant says otherwise
    #[arg(
        long,
        env = "BLOCK_SERVER_DTYPE",
        value_name = "DTYPE",
        default_value = "auto",
        alias = "torch-dtype",
        hide_short_help = true
    )]
    pub dtype: String,

    /// Format of the weights: none (the checkpoint's own), int8, int4 or nf4; a span takes about a
    /// half or a quarter of its 16-bit memory in 8 or 4 bits
    #[arg(
        long,
        env = "BLOCK_SERVER_QUANT",
        value_name = "Q",
        default_value = "none",
        alias = "quant-type",
        hide_short_help = true
    )]
    pub quant: String,

    /// Format of the KV cache: auto, f32, bf16 or int8; auto takes bf16 for bf16 blocks, else f32
    #[arg(
        long,
        env = "BLOCK_SERVER_KV_DTYPE",
        value_name = "K",
        default_value = "auto",
        hide_short_help = true
    )]
    pub kv_dtype: String,

    /// Device that computes: auto or cpu
    #[arg(
        long,
        env = "BLOCK_SERVER_DEVICE",
        value_name = "D",
        default_value = "auto",
        hide_short_help = true
    )]
    pub device: String,

    /// Threads that compute [default: one for each physical core]
    #[arg(long, env = "BLOCK_SERVER_THREADS", value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_THREADS), hide_short_help = true)]
    pub threads: Option<u64>,

    /// Prefix of the DHT keys, without dot or space [default: from the model name by Petals' rule]
    #[arg(
        long,
        env = "BLOCK_SERVER_DHT_PREFIX",
        value_name = "P",
        hide_short_help = true
    )]
    pub dht_prefix: Option<String>,
}

/// Which swarm, and under which name.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Swarm")]
pub struct SwarmFlags {
    /// Join through these multiaddrs, each with /p2p/PEER; several after one flag or with commas
    /// [default: none, starts a private swarm]
    #[arg(long, env = "BLOCK_SERVER_INITIAL_PEERS", value_name = "ADDR", num_args = 0.., value_delimiter = ',')]
    pub initial_peers: Vec<String>,

    /// File with more addresses to join through, one on a line, # begins a comment; read again
    /// on SIGHUP [default: none]
    #[arg(
        long,
        env = "BLOCK_SERVER_INITIAL_PEERS_FILE",
        value_name = "FILE",
        hide_short_help = true
    )]
    pub initial_peers_file: Option<PathBuf>,

    /// Longest wait for one of the initial peers to answer, in seconds
    #[arg(long, env = "BLOCK_SERVER_JOIN_TIMEOUT", value_name = "S", default_value = "60", value_parser = parse_seconds, hide_short_help = true)]
    pub join_timeout: Duration,

    /// Join the swarm of the local network, or start it: servers with --lan find each other by mDNS, and so do clients
    #[arg(long, env = "BLOCK_SERVER_LAN", value_parser = BoolishValueParser::new())]
    pub lan: bool,

    /// Start a private swarm; this is also what happens without --initial-peers, --lan and --public-swarm
    #[arg(long, env = "BLOCK_SERVER_NEW_SWARM", value_parser = BoolishValueParser::new())]
    pub new_swarm: bool,

    /// Join the public Petals swarm
    #[arg(long, env = "BLOCK_SERVER_PUBLIC_SWARM", value_parser = BoolishValueParser::new())]
    pub public_swarm: bool,

    /// Name shown on monitors, 1 to 80 characters [default: none]
    #[arg(long, env = "BLOCK_SERVER_PUBLIC_NAME", value_name = "NAME", value_parser = parse_public_name)]
    pub public_name: Option<String>,

    /// Key file, written with mode 0600 if absent [default: identity.key in the state folder]
    #[arg(
        long,
        env = "BLOCK_SERVER_IDENTITY",
        value_name = "FILE",
        alias = "identity-path",
        hide_short_help = true
    )]
    pub identity: Option<PathBuf>,

    /// Seconds between two announcements
    #[arg(long, env = "BLOCK_SERVER_UPDATE_PERIOD", value_name = "S", default_value = "120", value_parser = parse_seconds, hide_short_help = true)]
    pub update_period: Duration,

    /// Seconds an announcement lives [default: twice the update period, at least 3]
    #[arg(long, env = "BLOCK_SERVER_EXPIRATION", value_name = "S", value_parser = parse_seconds, hide_short_help = true)]
    pub expiration: Option<Duration>,
}

/// Where peers reach this server.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Network")]
pub struct NetworkFlags {
    /// TCP port for peers on all interfaces, IPv4 and IPv6; 0 takes a free one
    #[arg(long, env = "BLOCK_SERVER_PORT", value_name = "N", default_value_t = DEFAULT_PORT)]
    pub port: u16,

    /// Exact multiaddrs to listen on, instead of --port [default: /ip4/0.0.0.0/tcp/PORT and /ip6/::/tcp/PORT]
    #[arg(long, env = "BLOCK_SERVER_LISTEN_MADDR", value_name = "ADDR", num_args = 1.., value_delimiter = ',', aliases = ["host-maddrs", "listen-maddrs"], hide_short_help = true)]
    pub listen_maddr: Vec<String>,

    /// Announce this address; needs a --port that is not 0 [default: the addresses of this machine]
    #[arg(
        long,
        env = "BLOCK_SERVER_PUBLIC_IP",
        value_name = "IP",
        hide_short_help = true
    )]
    pub public_ip: Option<std::net::IpAddr>,

    /// Exact multiaddrs to announce [default: the addresses of this machine]
    #[arg(long, env = "BLOCK_SERVER_ANNOUNCE_MADDR", value_name = "ADDR", num_args = 1.., value_delimiter = ',', alias = "announce-maddrs", hide_short_help = true)]
    pub announce_maddr: Vec<String>,

    /// Ask the router by UPnP to forward the port, and announce the address that it gives; the log says which, or why not
    #[arg(long, env = "BLOCK_SERVER_UPNP", value_parser = BoolishValueParser::new(), hide_short_help = true)]
    pub upnp: bool,

    /// Answer only these peers: clients, and servers that push to this one; several after one flag or with commas.
    /// The DHT still answers everybody [default: everybody]
    #[arg(long, env = "BLOCK_SERVER_TRUSTED_PEERS", value_name = "PEER", num_args = 1.., value_delimiter = ',', hide_short_help = true)]
    pub trusted_peers: Vec<String>,

    /// Do not ask other peers whether they can reach this server
    #[arg(long, env = "BLOCK_SERVER_SKIP_REACHABILITY_CHECK", value_parser = BoolishValueParser::new(), hide_short_help = true)]
    pub skip_reachability_check: bool,
}

/// What one peer, one session and all of them may take.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitFlags {
    /// KV cache in tokens, for each block [default: 16384 for models with grouped keys and values, else 4096]
    #[arg(long, env = "BLOCK_SERVER_ATTN_CACHE_TOKENS", value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_TOKENS), hide_short_help = true)]
    pub attn_cache_tokens: Option<u64>,

    /// Longest session, in tokens [default: 8192 for models with grouped keys and values, else 2048]
    #[arg(long, env = "BLOCK_SERVER_INFERENCE_MAX_LENGTH", value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_TOKENS), hide_short_help = true)]
    pub inference_max_length: Option<u64>,

    /// Most tokens in one request [default: 8192 for models with grouped keys and values, else 2048]
    #[arg(long, env = "BLOCK_SERVER_MAX_BATCH_SIZE", value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_TOKENS), hide_short_help = true)]
    pub max_batch_size: Option<u64>,

    /// Memory for weights, KV cache and what a step needs, such as 12GB or 8GiB [default: what is available]
    #[arg(long, env = "BLOCK_SERVER_MEMORY_LIMIT", value_name = "SIZE", value_parser = parse_size, hide_short_help = true)]
    pub memory_limit: Option<u64>,

    /// Open sessions
    #[arg(long, env = "BLOCK_SERVER_MAX_SESSIONS", value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=65_536), hide_short_help = true)]
    pub max_sessions: u64,

    /// Open sessions of one peer
    #[arg(long, env = "BLOCK_SERVER_MAX_SESSIONS_PER_PEER", value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=65_536), hide_short_help = true)]
    pub max_sessions_per_peer: u64,

    /// Longest wait for cache memory that a client may ask for, in seconds
    #[arg(long, env = "BLOCK_SERVER_MAX_ALLOC_TIMEOUT", value_name = "S", default_value = "600", value_parser = parse_seconds, hide_short_help = true)]
    pub max_alloc_timeout: Duration,

    /// Longest forward request or push, in seconds
    #[arg(long, env = "BLOCK_SERVER_REQUEST_TIMEOUT", value_name = "S", default_value = "180", value_parser = parse_seconds, hide_short_help = true)]
    pub request_timeout: Duration,

    /// Longest life of a session, in seconds
    #[arg(long, env = "BLOCK_SERVER_SESSION_TIMEOUT", value_name = "S", default_value = "1800", value_parser = parse_seconds, hide_short_help = true)]
    pub session_timeout: Duration,

    /// Longest wait for a session's next step, in seconds
    #[arg(long, env = "BLOCK_SERVER_STEP_TIMEOUT", value_name = "S", default_value = "300", value_parser = parse_seconds, hide_short_help = true)]
    pub step_timeout: Duration,

    /// Longest wait for running steps on stop, in seconds
    #[arg(long, env = "BLOCK_SERVER_DRAIN_TIMEOUT", value_name = "S", default_value = "30", value_parser = parse_seconds, hide_short_help = true)]
    pub drain_timeout: Duration,
}

/// What is announced about speed, and how replies are packed.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Speed")]
pub struct SpeedFlags {
    /// Announced throughput: auto (measure once, keep the result), eval (measure again), dry-run
    /// (measure, print, exit), or a number of tokens per second
    #[arg(
        long,
        env = "BLOCK_SERVER_THROUGHPUT",
        value_name = "V",
        default_value = "auto",
        hide_short_help = true
    )]
    pub throughput: Throughput,

    /// Network speed for the announced throughput, in Mbit/s; it is assumed, never measured
    #[arg(long, env = "BLOCK_SERVER_NETWORK_MBPS", value_name = "N", default_value_t = DEFAULT_NETWORK_MBPS, hide_short_help = true)]
    pub network_mbps: f64,

    /// Move to other blocks if the swarm's weakest block has less than this share of what it could
    /// have; 0 never moves. A server whose --blocks are a range stays
    #[arg(long, env = "BLOCK_SERVER_BALANCE_QUALITY", value_name = "F", default_value = "0.75", value_parser = parse_quality, hide_short_help = true)]
    pub balance_quality: f64,

    /// Mean seconds between two looks at whether to move
    #[arg(long, env = "BLOCK_SERVER_MEAN_BALANCE_CHECK_PERIOD", value_name = "S", default_value = "60", value_parser = parse_seconds, hide_short_help = true)]
    pub mean_balance_check_period: Duration,

    /// Wire compression of replies: none, float16, meanstd-16bit, quantile-8bit, uniform-8bit or blockwise-8bit
    #[arg(
        long,
        env = "BLOCK_SERVER_COMPRESSION",
        value_name = "C",
        default_value = "none",
        hide_short_help = true
    )]
    pub compression: CompressionName,

    /// Wait this many seconds for each block of a step, as a larger model would take: for demonstrations and tests
    /// [default: none]
    #[arg(long, env = "BLOCK_SERVER_BLOCK_DELAY", value_name = "S", value_parser = parse_seconds, hide_short_help = true)]
    pub block_delay: Option<Duration>,
}

/// Where files come from.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Files")]
pub struct FileFlags {
    /// Make no call to the hub; HF_HUB_OFFLINE does the same
    #[arg(long, env = "BLOCK_SERVER_OFFLINE", value_parser = BoolishValueParser::new())]
    pub offline: bool,

    /// Hub token for gated models; visible to other users of this machine, prefer --token-file
    /// [default: HF_TOKEN, then the hub's own token file]
    #[arg(
        long,
        env = "BLOCK_SERVER_TOKEN",
        value_name = "T",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub token: Option<String>,

    /// File with the hub token [default: none]
    #[arg(
        long,
        env = "BLOCK_SERVER_TOKEN_FILE",
        value_name = "FILE",
        conflicts_with = "token",
        hide_short_help = true
    )]
    pub token_file: Option<PathBuf>,

    /// Hub cache, shared with Python tools [default: HF_HUB_CACHE, else hub in HF_HOME, else ~/.cache/huggingface/hub]
    #[arg(
        long,
        env = "BLOCK_SERVER_CACHE_DIR",
        value_name = "DIR",
        hide_short_help = true
    )]
    pub cache_dir: Option<PathBuf>,
}

/// Petals' documented example port; a fixed default makes the next start reachable under the same address.
pub const DEFAULT_PORT: u16 = 31330;
/// Upper bound of --threads: more than any machine has cores.
const MAX_THREADS: u64 = 4096;
/// What Petals falls back to when its speed test fails, in Mbit/s.
pub(super) const DEFAULT_NETWORK_MBPS: f64 = 100.0;
/// Upper bound of token counts in flags: far above any context length, and its
/// product with any hidden size still fits u64.
const MAX_TOKENS: u64 = 1 << 32;
