//! Flags of the commands that ask a gateway.

use clap::Args;

/// Which gateway.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Gateway")]
pub(crate) struct GatewayUrlFlags {
    /// Where the gateway is
    #[arg(
        long,
        env = "SWARM_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8000"
    )]
    pub(crate) url: String,

    /// Key of the gateway; visible to other users of this machine, prefer the variable [default: none]
    #[arg(
        long,
        env = "SWARM_API_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    pub(crate) api_key: Option<String>,
}

/// Flags of `swarm ps`.
#[derive(Debug, Clone, Args)]
pub(crate) struct PsFlags {
    /// Which gateway.
    #[command(flatten)]
    pub(crate) gateway: GatewayUrlFlags,
    /// Print the gateway's JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of `swarm stop`.
#[derive(Debug, Clone, Args)]
pub(crate) struct StopFlags {
    /// Which session: its id in swarm ps
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Which gateway.
    #[command(flatten)]
    pub(crate) gateway: GatewayUrlFlags,
    /// Print one JSON object instead of a line
    #[arg(long)]
    pub(crate) json: bool,
}
