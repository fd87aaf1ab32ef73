//! Flags of how the process is run and watched; the same rules as in `flags`.

use std::path::PathBuf;

use block_program::{Color, LogFormat};
use clap::Args;
use clap::builder::BoolishValueParser;

/// How the process is run and watched.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Operate")]
pub struct OperateFlags {
    /// Address of /metrics, /health and /status; port 0 takes a free one, off disables it.
    /// Other than loopback needs --admin-token-file
    #[arg(long, env = "BLOCK_SERVER_ADMIN_LISTEN", value_name = "ADDR", default_value = DEFAULT_ADMIN_LISTEN)]
    pub admin_listen: String,

    /// File with the token that /metrics and /status then ask for (Authorization: Bearer) [default: none]
    #[arg(
        long,
        env = "BLOCK_SERVER_ADMIN_TOKEN_FILE",
        value_name = "FILE",
        hide_short_help = true
    )]
    pub admin_token_file: Option<PathBuf>,

    /// Log level: error, warn, info, debug or trace; RUST_LOG wins
    #[arg(
        long,
        env = "BLOCK_SERVER_LOG_LEVEL",
        value_name = "L",
        default_value = "info",
        hide_short_help = true
    )]
    pub log_level: tracing::Level,

    /// More log lines; twice for all [default: 0]
    #[arg(short, long, env = "BLOCK_SERVER_VERBOSE", action = clap::ArgAction::Count, hide_short_help = true)]
    pub verbose: u8,

    /// Only warnings and errors
    #[arg(short, long, env = "BLOCK_SERVER_QUIET", value_parser = BoolishValueParser::new(), conflicts_with = "verbose", hide_short_help = true)]
    pub quiet: bool,

    /// Log format: auto (readable on a terminal, plain in a pipe) or json
    #[arg(
        long,
        env = "BLOCK_SERVER_LOG_FORMAT",
        value_name = "F",
        default_value = "auto",
        hide_short_help = true
    )]
    pub log_format: LogFormat,

    /// Colours of log lines: auto (on a terminal), always or never; NO_COLOR and CLICOLOR_FORCE count for auto
    #[arg(
        long,
        env = "BLOCK_SERVER_COLOR",
        value_name = "WHEN",
        default_value = "auto",
        hide_short_help = true
    )]
    pub color: Color,

    /// Stop as on SIGTERM when the standard input ends: for a program that starts servers and may be killed itself
    #[arg(long, env = "BLOCK_SERVER_STOP_WITH_STDIN", value_parser = BoolishValueParser::new(), hide_short_help = true)]
    pub stop_with_stdin: bool,

    /// Resolve everything, print the plan and exit
    #[arg(long, env = "BLOCK_SERVER_DRY_RUN", value_parser = BoolishValueParser::new(), hide_short_help = true)]
    pub dry_run: bool,
}

/// The port after the peers' one, on loopback only.
pub const DEFAULT_ADMIN_LISTEN: &str = "127.0.0.1:31331";
