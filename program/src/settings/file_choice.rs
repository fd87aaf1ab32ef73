//! Which of the configuration files are read.

use std::path::PathBuf;

use clap::{Arg, ArgMatches};

/// Which files are read.
#[derive(Debug, Clone, Default)]
pub struct FileChoice {
    /// The file of the flag `--config` or its variable.
    pub named: Option<PathBuf>,
    /// Whether those in the configuration folders are left unread (`--no-config-files`, where a program has it).
    pub only_named: bool,
}

impl FileChoice {
    /// What the flags say, wherever they stand.
    pub(super) fn of(matches: &ArgMatches) -> Self {
        let mut leaf = matches;
        while let Some((_, inner)) = leaf.subcommand() {
            leaf = inner;
        }
        let named = leaf.try_get_one::<PathBuf>(CONFIG_ID).ok().flatten();
        let only_named = leaf.try_get_one::<bool>(NO_CONFIG_FILES_ID).ok().flatten();
        Self {
            named: named.cloned(),
            only_named: only_named.copied().unwrap_or_default(),
        }
    }
}

/// Whether the flag decides which files there are, so that no file can hold it.
pub(super) fn chooses_files(arg: &Arg) -> bool {
    arg.get_id() == CONFIG_ID || arg.get_id() == NO_CONFIG_FILES_ID
}

/// The flag that names a file, and the one that leaves all others unread. Neither can stand in a file.
const CONFIG_ID: &str = "config";
const NO_CONFIG_FILES_ID: &str = "no_config_files";
