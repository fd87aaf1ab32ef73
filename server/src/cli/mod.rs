//! The command line: flags, Petals' spellings, and the layers below it.
//!
//! A value comes from the flag, else from `BLOCK_SERVER_<NAME>`, else from a configuration file, else from the default
//! that `--help` shows: see [`block_program::settings`].

mod flags;
mod operate_flags;
mod petals;
mod service_flags;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;

use block_program::Folders;
use block_program::settings::config_command::ConfigFlags;
use block_program::settings::{self, Program};
use block_program::shell_files::{CompletionsFlags, ManFlags};
use block_program::version::VersionFlags;
use clap::builder::BoolishValueParser;
use clap::{CommandFactory, Parser, Subcommand};

pub use block_program::LogFormat;
pub use block_program::settings::ParseError;
pub use flags::{
    DEFAULT_PORT, FileFlags, LimitFlags, ModelFlags, NetworkFlags, SpeedFlags, SwarmFlags,
};
pub use operate_flags::{DEFAULT_ADMIN_LISTEN, OperateFlags};
pub use service_flags::{ManagerFlags, ServiceFlags, ServiceTask};
pub use values::{Blocks, CompressionName, Throughput};

/// Serves a span of transformer blocks to Petals clients.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "block-server",
    version,
    about = "Serves a span of transformer blocks to Petals clients",
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    max_term_width = 110
)]
pub struct Cli {
    /// How to serve.
    #[command(flatten)]
    pub serving: ServingFlags,
    /// Configuration file, TOML or YAML, keys named as the flags; it wins over those in the configuration folders of the
    /// user and the system [default: none]
    #[arg(
        short,
        long,
        env = "BLOCK_SERVER_CONFIG",
        value_name = "FILE",
        global = true,
        help_heading = "Operate"
    )]
    pub config: Option<PathBuf>,
    /// Read no configuration file but that of --config
    #[arg(
        long,
        env = "BLOCK_SERVER_NO_CONFIG_FILES",
        value_parser = BoolishValueParser::new(),
        global = true,
        help_heading = "Operate"
    )]
    pub no_config_files: bool,
    /// Another task than serving.
    #[command(subcommand)]
    pub task: Option<Task>,
}

/// How to serve; for a question, what is asked about.
#[derive(Debug, Clone, clap::Args)]
pub struct ServingFlags {
    /// What is served.
    #[command(flatten)]
    pub model: ModelFlags,
    /// Which swarm.
    #[command(flatten)]
    pub swarm: SwarmFlags,
    /// Where peers reach this server.
    #[command(flatten)]
    pub network: NetworkFlags,
    /// Bounds on sessions and memory.
    #[command(flatten)]
    pub limits: LimitFlags,
    /// Announced speed and compression.
    #[command(flatten)]
    pub speed: SpeedFlags,
    /// Model files.
    #[command(flatten)]
    pub files: FileFlags,
    /// Admin port, logs, configuration.
    #[command(flatten)]
    pub operate: OperateFlags,
}

/// What the program does instead of serving.
#[derive(Debug, Clone, Subcommand)]
pub enum Task {
    /// Show what would be served with the same flags: blocks, memory, download; nothing is loaded
    Plan(Box<QuestionFlags>),
    /// Measure how fast one block of the model is here, and what a start would announce
    Bench(Box<QuestionFlags>),
    /// Check whether a start with the same flags would work: one line for each thing that could be in the way
    Check(Box<QuestionFlags>),
    /// Ask a running server for its state through its admin port
    Status(StatusFlags),
    /// Show what computes on this machine: kernels and why these, threads, memory
    Devices(DevicesFlags),
    /// Show or make the key that a server is known by
    Identity(IdentityFlags),
    /// Show, explain and write the settings that files hold
    Config(ConfigFlags),
    /// Make systemd start the server: its unit, made from the settings that files hold
    Service(ServiceFlags),
    /// Print version, commit, backends and protocol
    Version(VersionFlags),
    /// Print the script that completes flags in a shell
    Completions(CompletionsFlags),
    /// Print a manual page, for man -l
    Man(ManFlags),
}

/// Flags of `plan`, `bench` and `check`: all those of serving, so that the word turns a start into a question. Once
/// parsed, their values are in [`Cli::serving`] too.
#[derive(Debug, Clone, clap::Args)]
pub struct QuestionFlags {
    /// Print one JSON object instead of lines
    #[arg(long)]
    pub json: bool,
    /// What would be served, and how.
    #[command(flatten)]
    pub serving: ServingFlags,
}

/// Flags of `block-server devices`.
#[derive(Debug, Clone, clap::Args)]
pub struct DevicesFlags {
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Flags of `block-server status`.
#[derive(Debug, Clone, clap::Args)]
pub struct StatusFlags {
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,

    /// Admin address of the running server
    #[arg(long, env = "BLOCK_SERVER_ADMIN_LISTEN", value_name = "ADDR", default_value = DEFAULT_ADMIN_LISTEN)]
    pub admin_listen: String,

    /// File with the admin token, if the server was given one
    #[arg(long, env = "BLOCK_SERVER_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
}

/// Flags of `block-server identity`.
#[derive(Debug, Clone, clap::Args)]
pub struct IdentityFlags {
    /// What to do with the key.
    #[command(subcommand)]
    pub task: IdentityTask,
}

/// What `block-server identity` does.
#[derive(Debug, Clone, Subcommand)]
pub enum IdentityTask {
    /// Print the peer id and where its key is
    Show(IdentityFileFlags),
    /// Make a key where there is none, and print the same
    New(IdentityFileFlags),
}

/// Flags of both.
#[derive(Debug, Clone, clap::Args)]
pub struct IdentityFileFlags {
    /// Print one JSON object instead of lines
    #[arg(long)]
    pub json: bool,

    /// Key file [default: identity.key in the state folder]
    #[arg(
        long,
        env = "BLOCK_SERVER_IDENTITY",
        value_name = "FILE",
        alias = "identity-path"
    )]
    pub identity: Option<PathBuf>,
}

/// The merged command line, with what the operator should be told about it.
pub type Parsed = settings::Parsed<Cli>;

/// Reads arguments (program name first), environment and configuration files.
///
/// # Errors
/// A wrong flag, a refused one, or a configuration file that is wrong.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    folders: &Folders,
) -> Result<Parsed, ParseError> {
    let mut parsed: Parsed = settings::parse(&PROGRAM, args, folders)?;
    if let Some(Task::Plan(asked) | Task::Bench(asked) | Task::Check(asked)) = &parsed.cli.task {
        parsed.cli.serving = asked.serving.clone();
    }
    Ok(parsed)
}

/// The command line as clap has it.
pub fn command() -> clap::Command {
    Cli::command()
}

/// What the settings of the two programs differ in.
pub const PROGRAM: Program = Program {
    name: "block-server",
    foreign: petals::FOREIGN,
    of_one_command: &[],
};

const EXAMPLES: &str = "Examples:
  block-server --model M --blocks 0:20         first server of a private swarm
  block-server --model M --initial-peers ADDR  second server, where the swarm needs it
  block-server plan --model M                  what would fit on this machine?
  block-server check --model M                 would a start work?
  block-server status                          what is the running server doing?
  block-server devices                         what would compute here, and why?
  block-server config show --origin            which settings count, and where are they from?

A flag can also be set by its environment variable or by its name in the configuration file.";

#[cfg(test)]
mod tests;
