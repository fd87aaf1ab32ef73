//! The files of one run, and which of them decides.

use std::path::{Path, PathBuf};

use clap::Command;

use super::file::{ConfigFile, Entry, wrong};
use super::file_choice::{FileChoice, chooses_files};
use super::keys::Keys;
use super::value;
use crate::error_report::Failure;
use crate::folders::Folders;

/// The files that were read.
#[derive(Debug)]
pub(super) struct Layers {
    /// Weakest first.
    pub(super) files: Vec<ConfigFile>,
    /// Keys of other programs that were dropped, each with the reason.
    pub(super) ignored: Vec<String>,
}

impl Layers {
    /// Reads the system's file and the user's, where they exist and are wanted, and the one that was named.
    ///
    /// # Errors
    /// A file that is wrong (exit 78).
    pub(super) fn read(folders: &Folders, files: FileChoice, keys: &Keys) -> Result<Self, Failure> {
        let standing = folders.config_files().into_iter();
        let mut paths: Vec<PathBuf> = standing
            .filter(|path| !files.only_named && path.is_file())
            .collect();
        if let Some(named) = files.named {
            // A file that is named again counts once, in the stronger place.
            paths.retain(|path| !is_same(path, &named));
            paths.push(named);
        }
        let mut layers = Self {
            files: Vec::new(),
            ignored: Vec::new(),
        };
        for path in paths {
            let mut file = ConfigFile::read(&path, keys)?;
            layers.ignored.append(&mut file.ignored);
            layers.files.push(file);
        }
        Ok(layers)
    }

    /// The entry that decides about `long` in the subcommand `scope`, and its file.
    pub(super) fn entry(&self, scope: Option<&str>, long: &str) -> Option<(&Path, &Entry)> {
        self.files.iter().rev().find_map(|file| {
            let named = |entry: &&Entry| entry.long == long;
            let scoped = |entry: &&Entry| scope.is_some() && entry.scope.as_deref() == scope;
            let entries = || file.entries.iter().filter(named);
            let found = entries()
                .find(scoped)
                .or_else(|| entries().find(|entry| entry.scope.is_none()));
            found.map(|entry| (file.path.as_path(), entry))
        })
    }

    /// `command` with what the files say as its defaults, along the subcommands of `path`, but for the switches that are
    /// turned `off`.
    ///
    /// # Errors
    /// A value that its flag refuses (exit 78).
    pub(super) fn below(
        &self,
        command: Command,
        path: &[String],
        off: &[String],
    ) -> Result<Command, Failure> {
        self.below_named(command, None, path, off)
    }

    fn below_named(
        &self,
        mut command: Command,
        name: Option<&str>,
        path: &[String],
        off: &[String],
    ) -> Result<Command, Failure> {
        let settings: Vec<_> = command
            .get_arguments()
            .filter(|arg| arg.get_env().is_some() && !chooses_files(arg))
            .cloned()
            .collect();
        for arg in settings {
            let Some(long) = arg.get_long() else {
                continue;
            };
            // What is global stands at the top, and is meant by the table of a subcommand, too.
            let scope = name.or_else(|| path.first().map(String::as_str));
            if off.iter().any(|id| arg.get_id() == id.as_str()) {
                continue;
            }
            let Some((file, entry)) = self.entry(scope, long) else {
                continue;
            };
            let texts = texts(entry, &arg, file)?;
            command = command.mut_arg(arg.get_id().clone(), |arg| {
                arg.required(false).default_values(texts)
            });
        }
        let Some((inner, rest)) = path.split_first() else {
            return Ok(command);
        };
        let mut failed = None;
        let command = command.mut_subcommand(inner, |subcommand| {
            let plain = subcommand.clone();
            self.below_named(subcommand, Some(inner), rest, off)
                .unwrap_or_else(|failure| {
                    failed = Some(failure);
                    plain
                })
        });
        failed.map_or(Ok(command), Err)
    }
}

/// The values of an entry, checked by its flag.
///
/// # Errors
/// The flag refuses them (exit 78).
pub(super) fn texts(entry: &Entry, arg: &clap::Arg, file: &Path) -> Result<Vec<String>, Failure> {
    let texts = entry.value.texts(arg).ok_or_else(|| {
        let expected = value::expected_kind(arg);
        wrong(
            file,
            entry.line,
            &format!("key {} needs {expected}", entry.written),
        )
    })?;
    value::check(arg, &texts).map_err(|reason| {
        let what = format!("key {} has a wrong value", entry.written);
        let failure = wrong(file, entry.line, &what).cause(reason);
        failure.hint(format!("--help explains --{}", entry.long))
    })?;
    Ok(texts)
}

fn is_same(left: &Path, right: &Path) -> bool {
    match (left.canonicalize(), right.canonicalize()) {
        (Ok(left), Ok(right)) => left == right,
        _ => left == right,
    }
}
