//! Flags of `swarm gateway`: who comes in, how many at once, and for how long.

use std::path::PathBuf;
use std::time::Duration;

use block_gateway::door::Rate;
use clap::Args;
use clap::builder::BoolishValueParser;

use super::flags::parse_seconds;

/// Who comes in, how many at once, and for how long.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Callers")]
pub(crate) struct DoorFlags {
    /// File of API keys, one name:key or name:key:scopes a line, read again on SIGHUP; the variable SWARM_API_KEYS has
    /// the same with commas. Scopes: admin, model=ID, rate=60/min. Without keys only this machine may call [default: none]
    #[arg(long, env = "SWARM_API_KEY_FILE", value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,

    /// Let everybody who reaches the address use the models
    #[arg(long, env = "SWARM_NO_AUTH", value_parser = BoolishValueParser::new())]
    pub(crate) no_auth: bool,

    /// Requests of a key, else of an address, for example 60/min [default: no limit]
    #[arg(long, env = "SWARM_RATE_LIMIT", value_name = "RATE")]
    pub(crate) rate_limit: Option<Rate>,

    /// Believe X-Forwarded-For: only behind a proxy that nobody can go round
    #[arg(long, env = "SWARM_TRUST_PROXY", value_parser = BoolishValueParser::new(), hide_short_help = true)]
    pub(crate) trust_proxy: bool,

    /// Requests that make text at the same time
    #[arg(
        long,
        env = "SWARM_MAX_CONCURRENT",
        value_name = "N",
        default_value = "32"
    )]
    pub(crate) max_concurrent: std::num::NonZeroU16,

    /// Requests that wait for one of these to end; more are refused
    #[arg(long, env = "SWARM_MAX_QUEUE", value_name = "N", default_value = "64")]
    pub(crate) max_queue: u16,

    /// Longest wait of these, seconds
    #[arg(
        long,
        env = "SWARM_QUEUE_TIMEOUT",
        value_name = "S",
        default_value = "30",
        value_parser = parse_patience,
        hide_short_help = true
    )]
    pub(crate) queue_timeout: Duration,

    /// Longest request, from its arrival to the last byte of its answer, seconds
    #[arg(
        long,
        env = "SWARM_REQUEST_TIMEOUT",
        value_name = "S",
        default_value = "600",
        value_parser = parse_patience,
        hide_short_help = true
    )]
    pub(crate) request_timeout: Duration,

    /// Longest wait of an answer for servers in place of those that it lost, seconds
    #[arg(
        long,
        env = "SWARM_REPAIR_TIMEOUT",
        value_name = "S",
        default_value = "30",
        value_parser = parse_patience,
        hide_short_help = true
    )]
    pub(crate) repair_timeout: Duration,

    /// Conversations whose sessions wait for their next turn, which then runs its new tokens only; 0: none
    #[arg(
        long,
        env = "SWARM_KEEP_SESSIONS",
        value_name = "N",
        default_value = "4"
    )]
    pub(crate) keep_sessions: u16,

    /// How long each waits, seconds
    #[arg(
        long,
        env = "SWARM_KEEP_SESSION_SECONDS",
        value_name = "S",
        default_value = "120",
        value_parser = parse_patience,
        hide_short_help = true
    )]
    pub(crate) keep_session_seconds: Duration,

    /// Largest body of a request, bytes, up to 2 MiB
    #[arg(
        long,
        env = "SWARM_MAX_BODY",
        value_name = "BYTES",
        default_value = "2000000",
        value_parser = clap::value_parser!(u32).range(1..=2_097_152),
        hide_short_help = true
    )]
    pub(crate) max_body: u32,

    /// Pages of other origins that may call: scheme, host and port of each, or * [default: none]
    #[arg(
        long,
        env = "SWARM_CORS_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ',',
        hide_short_help = true
    )]
    pub(crate) cors_origin: Vec<String>,

    /// More names of this gateway, as browsers call it [default: none]
    #[arg(
        long,
        env = "SWARM_ALLOWED_HOST",
        value_name = "HOST",
        value_delimiter = ',',
        hide_short_help = true
    )]
    pub(crate) allowed_host: Vec<String>,

    /// Certificate chain in PEM: HTTPS instead of HTTP [default: none]
    #[arg(
        long,
        env = "SWARM_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key",
        hide_short_help = true
    )]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Its private key in PEM [default: none]
    #[arg(
        long,
        env = "SWARM_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert",
        hide_short_help = true
    )]
    pub(crate) tls_key: Option<PathBuf>,
}

/// A time that something may take: [`parse_seconds`], but none that is shorter than any answer takes.
fn parse_patience(text: &str) -> Result<Duration, String> {
    let patience = parse_seconds(text)?;
    if patience < MIN_PATIENCE {
        return Err(format!("expected {} s or more", MIN_PATIENCE.as_secs_f64()));
    }
    Ok(patience)
}

const MIN_PATIENCE: Duration = Duration::from_millis(1);
