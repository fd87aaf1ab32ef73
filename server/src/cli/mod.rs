//! The command line: flags, Petals' spellings, and the layers below it.
//!
//! A value comes from the flag, else from `BLOCK_SERVER_<NAME>`, else from the
//! configuration file, else from the default that `--help` shows. The file is
//! turned into arguments for the same parser, so a key means exactly what its
//! flag means.

mod flags;
mod petals;
mod values;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use block_program::{Failure, Folders};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use block_program::LogFormat;
pub use flags::{
    DEFAULT_ADMIN_LISTEN, DEFAULT_PORT, FileFlags, LimitFlags, ModelFlags, NetworkFlags,
    OperateFlags, SpeedFlags, SwarmFlags,
};
pub use values::{Blocks, CompressionName, Throughput};

use crate::config_file::{self, FileEntry};

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
    /// Another task than serving.
    #[command(subcommand)]
    pub task: Option<Task>,
}

/// How to serve; for `plan`, what is asked about.
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
    Plan(Box<PlanFlags>),
    /// Ask a running server for its state through its admin port
    Status(StatusFlags),
    /// Show what computes on this machine: kernels and why these, threads, memory
    Devices(DevicesFlags),
}

/// Flags of `block-server plan`: all those of serving, so that the word `plan` turns a start into a question. Once
/// parsed, their values are in [`Cli::serving`] too.
#[derive(Debug, Clone, clap::Args)]
pub struct PlanFlags {
    /// Print one JSON object instead of a table
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

/// The merged command line, with what the operator should be told about it.
#[derive(Debug)]
pub struct Parsed {
    /// Every value, from whichever layer gave it.
    pub cli: Cli,
    /// Petals flags that were dropped, each with the reason.
    pub ignored: Vec<String>,
    /// The configuration file that was read, if any.
    pub config_file: Option<PathBuf>,
}

/// Why no command line came out.
#[derive(Debug)]
pub enum ParseError {
    /// clap's own text, which includes `--help` and `--version`.
    Clap(clap::Error),
    /// A refused Petals flag or a wrong configuration file.
    Failure(Failure),
}

/// Reads arguments (program name first), environment and configuration file.
///
/// # Errors
/// A wrong flag, a refused one, or a configuration file that is wrong.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    folders: &Folders,
) -> Result<Parsed, ParseError> {
    let translated = petals::translate(args).map_err(ParseError::Failure)?;
    let matches = Cli::command()
        .try_get_matches_from(&translated.args)
        .map_err(ParseError::Clap)?;
    let cli = Cli::read(&matches)?;
    let file = match cli.task {
        None | Some(Task::Plan(_)) => find_config_file(&cli, folders),
        Some(Task::Status(_) | Task::Devices(_)) => None,
    };
    let Some(path) = file else {
        return Ok(Parsed {
            cli,
            ignored: translated.ignored,
            config_file: None,
        });
    };
    let entries = config_file::read(&path, &Cli::command()).map_err(ParseError::Failure)?;
    let cli = merge(&translated.args, &matches, &entries, &path)?;
    Ok(Parsed {
        cli,
        ignored: translated.ignored,
        config_file: Some(path),
    })
}

impl Cli {
    /// The values that were matched; those of a plan also in the places where serving has them.
    fn read(matches: &ArgMatches) -> Result<Self, ParseError> {
        let mut cli = Self::from_arg_matches(matches).map_err(ParseError::Clap)?;
        if let Some(Task::Plan(plan)) = &cli.task {
            cli.serving = plan.serving.clone();
        }
        Ok(cli)
    }
}

/// The file named by flag or environment; else the user's own, if it exists.
fn find_config_file(cli: &Cli, folders: &Folders) -> Option<PathBuf> {
    cli.serving
        .operate
        .config
        .clone()
        .or_else(|| Some(folders.default_config_file()).filter(|path| path.is_file()))
}

/// Parses again with the entries of the file that no flag or variable overrides.
fn merge(
    args: &[OsString],
    matches: &ArgMatches,
    entries: &[FileEntry],
    path: &Path,
) -> Result<Cli, ParseError> {
    let command = Cli::command();
    let mut merged = args.to_vec();
    // The name of the program, and the word `plan`.
    let (matches, words) = match matches.subcommand() {
        Some((_, matches)) => (matches, 2),
        None => (matches, 1),
    };
    let has_positional_model = is_explicit(matches, "positional_model");
    // Before the positional arguments: a list flag at the end would swallow nothing that follows.
    let mut from_file = Vec::new();
    for entry in entries {
        if is_explicit(matches, &entry.id) || (entry.id == "model" && has_positional_model) {
            continue;
        }
        // Each entry alone first: a wrong value is then the file's fault, not the command line's.
        let mut alone = vec![OsString::from("block-server")];
        alone.extend(entry.arguments());
        if let Err(error) = command
            .clone()
            .ignore_errors(false)
            .try_get_matches_from(&alone)
        {
            return Err(ParseError::Failure(config_file::wrong_value(
                path, entry, &error,
            )));
        }
        from_file.extend(entry.arguments());
    }
    let at = merged.len().min(words);
    merged.splice(at..at, from_file);
    let matches = command
        .try_get_matches_from(&merged)
        .map_err(ParseError::Clap)?;
    Cli::read(&matches)
}

fn is_explicit(matches: &ArgMatches, id: &str) -> bool {
    matches!(
        matches.value_source(id),
        Some(ValueSource::CommandLine | ValueSource::EnvVariable)
    )
}

/// Long names of every flag that a configuration file can set.
pub fn settings() -> Vec<String> {
    config_file::settings(&Cli::command())
}

const EXAMPLES: &str = "Examples:
  block-server --model M --blocks 0:20                        first server of a private swarm
  block-server --model M --initial-peers ADDR                 second server, where the swarm needs it
  block-server plan --model M                                 what would fit on this machine?
  block-server status                                         what is the running server doing?
  block-server devices                                        what would compute here, and why?

A flag can also be set by its environment variable or by its name in the configuration file.";

#[cfg(test)]
mod tests;
