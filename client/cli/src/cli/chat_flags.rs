//! Flags of `swarm chat`.

use clap::Args;
use clap::builder::BoolishValueParser;

use super::flags::{ModelFlags, SwarmFlags};
use super::run_flags::{RunFlags, WayFlags, parse_tokens};

/// Flags of `swarm chat`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ChatFlags {
    /// Which model.
    #[command(flatten)]
    pub(crate) model: ModelFlags,

    /// What the model is told before all else; it needs a chat template for that [default: nothing]
    #[arg(
        long,
        env = "SWARM_SYSTEM",
        value_name = "TEXT",
        conflicts_with = "raw"
    )]
    pub(crate) system: Option<String>,

    /// Let the model go on with the text as it is, also if it has a chat template
    #[arg(long, env = "SWARM_RAW", value_parser = BoolishValueParser::new())]
    pub(crate) raw: bool,

    /// Most tokens of an answer
    #[arg(long, env = "SWARM_MAX_TOKENS", value_name = "N", default_value_t = 1024, value_parser = parse_tokens)]
    pub(crate) max_tokens: usize,

    /// Above 0: draw tokens, the more freely the higher; 0 always takes the likeliest [default: as the model's makers advise, else 0]
    #[arg(long, env = "SWARM_TEMPERATURE", value_name = "F")]
    pub(crate) temperature: Option<f32>,

    /// Makes draws repeatable [default: a new one for each answer]
    #[arg(long, env = "SWARM_SEED", value_name = "N", hide_short_help = true)]
    pub(crate) seed: Option<u64>,

    /// End answers before this text; give the flag again for more [default: none]
    #[arg(long, env = "SWARM_STOP", value_name = "TEXT", hide_short_help = true)]
    pub(crate) stop: Vec<String>,

    /// Tokens that a conversation may have, which servers reserve memory for
    #[arg(long, env = "SWARM_MAX_LENGTH", value_name = "N", default_value_t = DEFAULT_MAX_LENGTH, value_parser = parse_tokens, hide_short_help = true)]
    pub(crate) max_length: usize,

    /// Do not keep what is typed in the history file
    #[arg(long, env = "SWARM_NO_HISTORY", value_parser = BoolishValueParser::new())]
    pub(crate) no_history: bool,

    /// Which swarm.
    #[command(flatten)]
    pub(crate) swarm: SwarmFlags,
    /// Which way.
    #[command(flatten)]
    pub(crate) way: WayFlags,
}

impl From<RunFlags> for ChatFlags {
    /// What was asked of one answer holds for all.
    fn from(run: RunFlags) -> Self {
        let RunFlags {
            model,
            system,
            raw,
            swarm,
            answer,
            way,
            ..
        } = run;
        Self {
            model,
            system,
            raw,
            max_tokens: answer.max_tokens,
            temperature: Some(answer.temperature),
            seed: answer.seed,
            stop: answer.stop,
            max_length: answer.max_length.unwrap_or(DEFAULT_MAX_LENGTH),
            no_history: false,
            swarm,
            way,
        }
    }
}

/// The shortest limit that Petals servers have.
const DEFAULT_MAX_LENGTH: usize = 2048;
