//! Flags of `swarm demo`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;

use crate::demo::Share;

/// Flags of `swarm demo`.
#[derive(Debug, Clone, Args)]
pub(crate) struct DemoFlags {
    /// Open a page to chat on and OpenAI's API, until Ctrl-C, instead of telling a story here
    // Not a setting: swarm gateway has one of this name that means something else, and one for --listen.
    #[arg(id = "demo_page", long = "page")]
    pub(crate) page: bool,
    /// Where the page is, on this machine; port 0 takes a free one
    #[arg(
        id = "demo_listen",
        long = "listen",
        value_name = "ADDR",
        default_value = "127.0.0.1:8000"
    )]
    pub(crate) listen: SocketAddr,
    /// Let servers of other machines join, through this address of this machine, else through the one by which it
    /// reaches others (auto); whoever reaches it can use the demo's servers [default: only this machine]
    #[arg(
        long,
        value_name = "IP",
        num_args = 0..=1,
        default_missing_value = "auto"
    )]
    pub(crate) share: Option<Share>,
    /// The server program [default: block-server beside this program]
    #[arg(long, env = "SWARM_BLOCK_SERVER", value_name = "FILE")]
    pub(crate) block_server: Option<PathBuf>,
    /// How the story begins
    #[arg(
        long,
        env = "SWARM_DEMO_PROMPT",
        value_name = "TEXT",
        default_value = "Once upon a time"
    )]
    pub(crate) prompt: String,
    /// Most tokens of the story, which ends by itself after about 170
    #[arg(long, env = "SWARM_DEMO_MAX_TOKENS", value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(40..=400))]
    pub(crate) max_tokens: u32,
    /// Leave all servers alone: no process is killed on the way
    #[arg(long, env = "SWARM_DEMO_NO_KILL", value_parser = BoolishValueParser::new())]
    pub(crate) no_kill: bool,
}
