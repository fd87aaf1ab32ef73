//! Settings of a program: where the value of a flag comes from when nobody typed it.
//!
//! default < system's file < user's file < `--config` < environment < flag
//!
//! A *setting* is a flag that has an environment variable; its key in a file is its long name. What a file says
//! becomes the default of the flag for this run, so a key means exactly what its flag means and is checked by the
//! same parser.
//!
//! - [`foreign`], `arguments`: what stands on the command line before clap reads it
//! - `file`, `toml_file`, `yaml_file`: what stands in a file; `keys`: which flag is meant
//! - `file_choice`: which files are read; `layers`: which there are, and which of them decides
//! - [`config_command`]: `config show`, `init`, `set` and `schema`

pub mod config_command;
pub mod foreign;

mod arguments;
mod file;
mod file_choice;
mod init;
mod keys;
mod layers;
mod nearest;
mod schema;
mod set;
mod show;
mod toml_file;
mod value;
mod yaml_file;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};

use crate::error_report::Failure;
use crate::folders::Folders;
pub use file_choice::FileChoice;
use foreign::Foreign;
use keys::Keys;
use layers::Layers;

/// What is particular to one program.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// Its name, which is also that of its folders.
    pub name: &'static str,
    /// Flags of other programs that it understands.
    pub foreign: &'static [Foreign],
    /// Keys that stand in a file only for one subcommand, since several of them cannot share the value.
    pub of_one_command: &'static [&'static str],
}

/// A command line with the layers below it.
#[derive(Debug)]
pub struct Parsed<C> {
    /// Every value, from whichever layer gave it.
    pub cli: C,
    /// Flags and keys of other programs that were dropped, each with the reason.
    pub ignored: Vec<String>,
    /// The configuration files that were read, weakest first.
    pub files: Vec<PathBuf>,
}

/// Why no command line came out.
#[derive(Debug)]
pub enum ParseError {
    /// clap's own text, which includes `--help` and `--version`.
    Clap(clap::Error),
    /// A refused flag, or a configuration file that is wrong.
    Failure(Failure),
}

impl From<Failure> for ParseError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<clap::Error> for ParseError {
    fn from(error: clap::Error) -> Self {
        Self::Clap(error)
    }
}

/// Reads arguments (program name first), environment and configuration files.
///
/// # Errors
/// A wrong flag, a refused one, or a configuration file that is wrong.
pub fn parse<C: CommandFactory + FromArgMatches>(
    program: &Program,
    args: impl IntoIterator<Item = OsString>,
    folders: &Folders,
) -> Result<Parsed<C>, ParseError> {
    let plain = C::command();
    let keys = Keys::of(&plain, program);
    let prepared = arguments::prepare(args, &plain, program.foreign)?;
    let command = arguments::without_variables(plain, &prepared.off);
    let matches = first_look(&command, &prepared.args)?;
    let path = path_of(&matches);
    if path.first().is_some_and(|name| !reads_files(name)) {
        let matches = command.try_get_matches_from(&prepared.args)?;
        return Ok(Parsed {
            cli: C::from_arg_matches(&matches)?,
            ignored: prepared.ignored,
            files: Vec::new(),
        });
    }
    let layers = Layers::read(folders, FileChoice::of(&matches), &keys)?;
    let command = layers.below(command, &path, &prepared.off)?;
    let matches = command.try_get_matches_from(&prepared.args)?;
    let mut ignored = prepared.ignored;
    ignored.extend(layers.ignored);
    Ok(Parsed {
        cli: C::from_arg_matches(&matches)?,
        ignored,
        files: layers.files.into_iter().map(|file| file.path).collect(),
    })
}

/// What the command line alone says. What it lacks may stand in a file.
fn first_look(command: &Command, args: &[OsString]) -> Result<ArgMatches, clap::Error> {
    match command.clone().try_get_matches_from(args) {
        Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => command
            .clone()
            .ignore_errors(true)
            .try_get_matches_from(args),
        result => result,
    }
}

/// Names of the subcommands that were given, outermost first.
fn path_of(matches: &ArgMatches) -> Vec<String> {
    let mut path = Vec::new();
    let mut leaf = matches;
    while let Some((name, inner)) = leaf.subcommand() {
        path.push(name.to_owned());
        leaf = inner;
    }
    path
}

/// These must work while a file is wrong, and have no settings.
fn reads_files(subcommand: &str) -> bool {
    !WITHOUT_FILES.contains(&subcommand)
}

const WITHOUT_FILES: [&str; 5] = ["config", "completions", "man", "service", "version"];
