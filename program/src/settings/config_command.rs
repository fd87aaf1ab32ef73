//! `config`: looks at the settings, and writes the file that holds them. Nothing else ever writes it.

use std::path::Path;

use clap::{Args, Command, Subcommand};

use super::keys::Keys;
use super::layers::Layers;
use super::{FileChoice, Program, init, schema, set, show};
use crate::error_report::{Exit, Failure};
use crate::folders::Folders;

/// Flags of `config`.
#[derive(Debug, Clone, Args)]
pub struct ConfigFlags {
    /// What to do with the settings.
    #[command(subcommand)]
    pub task: ConfigTask,
}

/// What `config` does.
#[derive(Debug, Clone, Subcommand)]
pub enum ConfigTask {
    /// Show every setting as it counts now: files, environment and defaults together
    Show(ShowFlags),
    /// Write a file that explains every key, all commented out: the user's file, or the one of --config
    Init(InitFlags),
    /// Set one key in the user's file, or in the one of --config, after checking it
    Set(SetFlags),
    /// Print the JSON Schema of the file, for editors
    Schema,
}

/// Flags of `config show`.
#[derive(Debug, Clone, Args)]
pub struct ShowFlags {
    /// Say where each value comes from
    #[arg(long)]
    pub origin: bool,
    /// Print one JSON object, which always has the origins
    #[arg(long)]
    pub json: bool,
}

/// Flags of `config init`.
#[derive(Debug, Clone, Args)]
pub struct InitFlags {
    /// Replace a file that exists
    #[arg(long)]
    pub force: bool,
}

/// Flags of `config set`.
#[derive(Debug, Clone, Args)]
pub struct SetFlags {
    /// The key: the long name of a flag; COMMAND.NAME sets it for one subcommand only
    #[arg(value_name = "KEY")]
    pub key: String,
    /// The value; several for a list
    #[arg(value_name = "VALUE", required = true, allow_negative_numbers = true)]
    pub values: Vec<String>,
}

/// Does it, and returns the text for stdout.
///
/// # Errors
/// A file that is wrong or a value that its flag refuses (exit 78), a wrong key (2), a file that cannot be written (71).
pub fn run(
    program: &Program,
    command: Command,
    task: &ConfigTask,
    folders: &Folders,
    files: FileChoice,
) -> Result<String, Failure> {
    let keys = Keys::of(&command, program);
    match task {
        ConfigTask::Show(flags) => {
            let layers = Layers::read(folders, files, &keys)?;
            let rows = show::rows(&keys, &layers, &|name| std::env::var(name).ok())?;
            Ok(if flags.json {
                show::json(&rows)
            } else {
                show::text(&rows, flags.origin)
            })
        }
        ConfigTask::Init(flags) => {
            let path = files.named.unwrap_or_else(|| folders.user_config_file());
            init::write(program, &keys, &path, flags.force)?;
            Ok(format!("wrote {}", path.display()))
        }
        ConfigTask::Set(flags) => {
            let path = files.named.unwrap_or_else(|| folders.user_config_file());
            set::set(&keys, &path, &flags.key, &flags.values)
        }
        ConfigTask::Schema => Ok(schema::schema(program, &keys)),
    }
}

/// Replaces a file in one move, so that a crash leaves the old one.
///
/// # Errors
/// The folder or file cannot be written (exit 71).
pub(super) fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let write = || -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // A link stays one: what it points at is replaced.
        let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let fresh = target.with_extension(format!("{}.new", std::process::id()));
        std::fs::write(&fresh, text)?;
        std::fs::rename(&fresh, &target)
    };
    write().map_err(|error| {
        Failure::new(Exit::OsError, format!("cannot write {}", path.display()))
            .caused_by(&error)
            .hint("--config FILE names another place")
    })
}
