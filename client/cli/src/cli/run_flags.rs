//! Flags of `swarm run`.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use block_client::{ActivationCodec, GenerationDefaults, SamplingConfig, SamplingOverrides};
use block_network::PeerId;
use clap::Args;
use clap::builder::BoolishValueParser;

use super::flags::{ModelFlags, SwarmFlags, parse_seconds};

/// Flags of `swarm run`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunFlags {
    /// Which model.
    #[command(flatten)]
    pub(crate) model: ModelFlags,

    /// The prompt [default: standard input when it is not a terminal, without its last line break]
    #[arg(value_name = "PROMPT", conflicts_with = "prompt_ids")]
    pub(crate) prompt: Option<String>,

    /// The prompt as token ids, with commas; no special token is added
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub(crate) prompt_ids: Option<Vec<u32>>,

    /// What the model is told before the prompt; it needs a chat template for that [default: nothing]
    #[arg(long, env = "SWARM_SYSTEM", value_name = "TEXT", conflicts_with_all = ["prompt_ids", "raw"])]
    pub(crate) system: Option<String>,

    /// Give the model the prompt as it is, also if it has a chat template
    #[arg(long, env = "SWARM_RAW", value_parser = BoolishValueParser::new())]
    pub(crate) raw: bool,

    /// Which swarm.
    #[command(flatten)]
    pub(crate) swarm: SwarmFlags,
    /// Which answer.
    #[command(flatten)]
    pub(crate) answer: AnswerFlags,
    /// Which way.
    #[command(flatten)]
    pub(crate) way: WayFlags,
    /// What is printed.
    #[command(flatten)]
    pub(crate) output: OutputFlags,
}

/// How tokens are chosen, and when the answer ends.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Answer")]
pub(crate) struct AnswerFlags {
    /// Most tokens of the answer
    #[arg(long, env = "SWARM_MAX_TOKENS", value_name = "N", default_value_t = 128, value_parser = parse_tokens)]
    pub(crate) max_tokens: usize,

    /// Above 0: draw tokens, the more freely the higher; 0 always takes the likeliest, so the text is repeatable
    #[arg(
        long,
        env = "SWARM_TEMPERATURE",
        value_name = "F",
        default_value_t = 0.0
    )]
    pub(crate) temperature: f32,

    /// Draw among this many of the likeliest tokens; 0 = all [default: what the model's makers advise, else 0]
    #[arg(long, env = "SWARM_TOP_K", value_name = "N", hide_short_help = true)]
    pub(crate) top_k: Option<usize>,

    /// Draw among the likeliest tokens that have this probability together; 1 = all [default: as advised, else 1]
    #[arg(long, env = "SWARM_TOP_P", value_name = "F", hide_short_help = true)]
    pub(crate) top_p: Option<f32>,

    /// Draw among tokens at least this times as likely as the likeliest; 0 = all [default: as advised, else 0]
    #[arg(long, env = "SWARM_MIN_P", value_name = "F", hide_short_help = true)]
    pub(crate) min_p: Option<f32>,

    /// Above 1 makes tokens of the prompt and the answer less likely [default: as advised when drawing, else 1]
    #[arg(
        long,
        env = "SWARM_REPETITION_PENALTY",
        value_name = "F",
        hide_short_help = true
    )]
    pub(crate) repetition_penalty: Option<f32>,

    /// Taken off the score of each token that the answer has, -2 to 2
    #[arg(
        long,
        env = "SWARM_PRESENCE_PENALTY",
        value_name = "F",
        default_value_t = 0.0,
        allow_negative_numbers = true,
        hide_short_help = true
    )]
    pub(crate) presence_penalty: f32,

    /// Taken off the score of a token for each time that the answer has it, -2 to 2
    #[arg(
        long,
        env = "SWARM_FREQUENCY_PENALTY",
        value_name = "F",
        default_value_t = 0.0,
        allow_negative_numbers = true,
        hide_short_help = true
    )]
    pub(crate) frequency_penalty: f32,

    /// Makes draws repeatable [default: a new one each time]
    #[arg(long, env = "SWARM_SEED", value_name = "N", hide_short_help = true)]
    pub(crate) seed: Option<u64>,

    /// End the answer before this text; give the flag again for more [default: none]
    #[arg(long, env = "SWARM_STOP", value_name = "TEXT", hide_short_help = true)]
    pub(crate) stop: Vec<String>,

    /// Go on after the token that ends an answer
    #[arg(long, env = "SWARM_IGNORE_EOS", value_parser = BoolishValueParser::new(), hide_short_help = true)]
    pub(crate) ignore_eos: bool,

    /// Tokens that the session may hold, which servers reserve memory for [default: the prompt's and --max-tokens]
    #[arg(long, env = "SWARM_MAX_LENGTH", value_name = "N", value_parser = parse_tokens, hide_short_help = true)]
    pub(crate) max_length: Option<usize>,
}

/// Which servers, and how the numbers travel.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Way")]
pub(crate) struct WayFlags {
    /// Start with exactly these servers, in this order: peer ids with commas; a lost one may be replaced by any [default: the fastest route]
    #[arg(
        long,
        env = "SWARM_ROUTE",
        value_name = "PEERS",
        value_delimiter = ',',
        hide_short_help = true
    )]
    pub(crate) route: Option<Vec<PeerId>>,

    /// How activations travel between peers that list it: auto (the smallest), none (exact), float16 or blockwise8
    #[arg(long, env = "SWARM_ACTIVATION_CODEC", value_name = "C", default_value = "auto", value_parser = parse_codec)]
    pub(crate) activation_codec: ActivationCodec,

    /// Take every answer home instead of letting servers hand them on to each other
    #[arg(long, env = "SWARM_NO_PUSH", value_parser = BoolishValueParser::new(), hide_short_help = true)]
    pub(crate) no_push: bool,

    /// Longest wait for a route when the session is opened, in seconds
    #[arg(long, env = "SWARM_OPEN_TIMEOUT", value_name = "S", default_value = "60", value_parser = parse_seconds, hide_short_help = true)]
    pub(crate) open_timeout: Duration,

    /// Longest repair after a server was lost, in seconds; then the answer ends with an error
    #[arg(long, env = "SWARM_REPAIR_TIMEOUT", value_name = "S", default_value = "120", value_parser = parse_seconds, hide_short_help = true)]
    pub(crate) repair_timeout: Duration,

    /// Routes that one repair tries at most
    #[arg(long, env = "SWARM_MAX_RETRIES", value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000), hide_short_help = true)]
    pub(crate) max_retries: u16,
}

/// What is printed.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputFlags {
    /// Print one JSON object: ids, text, route, times and counts
    #[arg(long)]
    pub(crate) json: bool,

    /// With --json: one line per token before that object; text always streams
    #[arg(long)]
    pub(crate) stream: bool,

    /// Tell route, speed and bytes on stderr at the end
    #[arg(long, env = "SWARM_STATS", value_parser = BoolishValueParser::new())]
    pub(crate) stats: bool,

    /// Serve /metrics and /health on this address meanwhile; port 0 takes a free one [default: off]
    #[arg(
        long,
        env = "SWARM_METRICS_LISTEN",
        value_name = "ADDR",
        hide_short_help = true
    )]
    pub(crate) metrics_listen: Option<SocketAddr>,

    /// /metrics asks for the token in this file; an address other than loopback needs one [default: none]
    #[arg(
        long,
        env = "SWARM_METRICS_TOKEN_FILE",
        value_name = "FILE",
        hide_short_help = true
    )]
    pub(crate) metrics_token_file: Option<PathBuf>,

    /// Stay this long after the answer, in seconds, so that the last metrics of --metrics-listen are read [default: do not stay]
    #[arg(long, env = "SWARM_METRICS_LINGER", value_name = "S", value_parser = parse_seconds, hide_short_help = true)]
    pub(crate) metrics_linger: Option<Duration>,
}

impl RunFlags {
    /// Whether a person sits there who has given no prompt, and is to be asked for one.
    pub(crate) fn is_conversation(&self) -> bool {
        let is_prompt_given = self.prompt.is_some() || self.prompt_ids.is_some();
        !is_prompt_given && std::io::stdin().is_terminal()
    }
}

impl AnswerFlags {
    /// How tokens are chosen. Tokens that are drawn are drawn as `advice`, the model's `generation_config.json`, has it,
    /// where no flag says otherwise; without a temperature the likeliest is taken, whatever a model's makers say.
    pub(crate) fn sampling(&self, advice: &GenerationDefaults) -> SamplingConfig {
        let asked = SamplingOverrides {
            temperature: Some(self.temperature),
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            presence_penalty: Some(self.presence_penalty),
            frequency_penalty: Some(self.frequency_penalty),
            seed: self.seed,
            ..SamplingOverrides::default()
        };
        let unadvised = GenerationDefaults::default().overridden(&asked);
        if unadvised.is_greedy() {
            return unadvised;
        }
        advice.overridden(&asked)
    }
}

fn parse_codec(text: &str) -> Result<ActivationCodec, String> {
    ActivationCodec::from_name(text).ok_or_else(|| {
        let names = ActivationCodec::ALL.map(ActivationCodec::name);
        format!("expected one of {}", names.join(", "))
    })
}

pub(super) fn parse_tokens(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(count) if (1..=MAX_TOKENS).contains(&count) => Ok(count),
        _ => Err(format!(
            "expected a number of tokens from 1 to {MAX_TOKENS}"
        )),
    }
}

/// Far above any context length.
const MAX_TOKENS: usize = 1 << 24;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Only {
        #[command(flatten)]
        answer: AnswerFlags,
    }

    fn sampling(flags: &[&str]) -> SamplingConfig {
        let advice = GenerationDefaults {
            do_sample: Some(true),
            temperature: Some(0.6),
            top_k: Some(20),
            top_p: Some(0.9),
            repetition_penalty: Some(1.1),
            ..GenerationDefaults::default()
        };
        let flags = ["swarm"].iter().chain(flags);
        Only::parse_from(flags).answer.sampling(&advice)
    }

    #[test]
    fn the_likeliest_token_is_taken_whatever_the_models_makers_advise() {
        assert_eq!(sampling(&[]), SamplingConfig::greedy());
        let penalized = sampling(&["--repetition-penalty", "1.5"]);
        assert!(penalized.is_greedy());
        assert_eq!((penalized.repetition_penalty, penalized.top_k), (1.5, 0));
    }

    #[test]
    fn drawing_follows_the_advice_where_no_flag_says_otherwise() {
        let drawn = sampling(&["--temperature", "0.8", "--top-k", "0", "--seed", "7"]);
        let expected = SamplingConfig {
            temperature: 0.8,
            top_k: 0,
            top_p: 0.9,
            repetition_penalty: 1.1,
            seed: Some(7),
            ..SamplingConfig::default()
        };
        assert_eq!(drawn, expected);
    }
}
