//! Flags of `swarm bench`.

use clap::Args;
use clap::builder::BoolishValueParser;

use super::flags::{ModelFlags, SwarmFlags};
use super::run_flags::{WayFlags, parse_tokens};

/// Flags of `swarm bench`.
#[derive(Debug, Clone, Args)]
pub(crate) struct BenchFlags {
    /// Which model.
    #[command(flatten)]
    pub(crate) model: ModelFlags,

    /// Measure the OpenAI API at this address instead of the swarm, for example http://127.0.0.1:8000 [default: the swarm]
    #[arg(long, env = "SWARM_BENCH_URL", value_name = "URL")]
    pub(crate) url: Option<String>,

    /// Key of that API; visible to other users of this machine, prefer the variable [default: none]
    #[arg(
        long,
        env = "SWARM_API_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    pub(crate) api_key: Option<String>,

    /// With --url: ask /v1/chat/completions instead of /v1/completions
    #[arg(long, env = "SWARM_BENCH_CHAT", value_parser = BoolishValueParser::new(), requires = "url")]
    pub(crate) chat: bool,

    /// Requests at the same time
    #[arg(long, env = "SWARM_BENCH_CONCURRENCY", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) concurrency: u32,

    /// Requests in all
    #[arg(long, env = "SWARM_BENCH_REQUESTS", value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) requests: u32,

    /// Tokens of each prompt; with --url words, which are about as many
    #[arg(long, env = "SWARM_BENCH_PROMPT_TOKENS", value_name = "N", default_value_t = 128, value_parser = parse_tokens)]
    pub(crate) prompt_tokens: usize,

    /// Most tokens of each answer
    #[arg(long, env = "SWARM_MAX_TOKENS", value_name = "N", default_value_t = 64, value_parser = parse_tokens)]
    pub(crate) max_tokens: usize,

    /// Print one JSON object instead of lines
    #[arg(long)]
    pub(crate) json: bool,

    /// Which swarm.
    #[command(flatten)]
    pub(crate) swarm: SwarmFlags,
    /// Which way.
    #[command(flatten)]
    pub(crate) way: WayFlags,
}
