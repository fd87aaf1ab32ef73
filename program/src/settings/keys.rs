//! Which flag a key of a file means.

use std::collections::BTreeSet;
use std::path::Path;

use clap::{Arg, Command};

use super::file::{Entry, RawEntry, wrong};
use super::file_choice::chooses_files;
use super::foreign::{Foreign, Treatment};
use super::nearest::nearest;
use super::{Program, reads_files};
use crate::error_report::Failure;

/// A setting: a flag with an environment variable.
#[derive(Debug, Clone)]
pub(super) struct Key {
    /// The subcommand that has it; `None` = the program itself.
    pub(super) command: Option<String>,
    /// Its long name.
    pub(super) long: String,
    /// The flag.
    pub(super) arg: Arg,
}

impl Key {
    fn is_spelled(&self, spelling: &str) -> bool {
        let aliases = self.arg.get_all_aliases().unwrap_or_default();
        self.long == spelling || aliases.contains(&spelling)
    }

    /// The name of its group in `--help`.
    pub(super) fn heading(&self) -> Option<&str> {
        self.arg.get_help_heading()
    }
}

/// Every setting of a program.
#[derive(Debug)]
pub(super) struct Keys {
    program: String,
    keys: Vec<Key>,
    commands: BTreeSet<String>,
    foreign: &'static [Foreign],
    of_one_command: &'static [&'static str],
}

impl Keys {
    /// The settings of `command` and of its subcommands, and what is particular to those of `program`.
    pub(super) fn of(command: &Command, program: &Program) -> Self {
        let mut keys = Vec::new();
        push_keys(&mut keys, None, command);
        let mut commands = BTreeSet::new();
        for inner in command.get_subcommands() {
            let name = inner.get_name();
            if reads_files(name) {
                commands.insert(name.to_owned());
                push_keys(&mut keys, Some(name), inner);
            }
        }
        Self {
            program: command.get_name().to_owned(),
            keys,
            commands,
            foreign: program.foreign,
            of_one_command: program.of_one_command,
        }
    }

    /// Whether a file sets it for one subcommand only.
    pub(super) fn is_of_one_command(&self, long: &str) -> bool {
        self.of_one_command.contains(&long)
    }

    /// The first subcommand with such a key, as an example.
    pub(super) fn example_of(&self, long: &str) -> &str {
        let mut keys = self.keys.iter().filter(|key| key.long == long);
        keys.find_map(|key| key.command.as_deref())
            .unwrap_or("COMMAND")
    }

    /// All of them, those of the program itself first.
    pub(super) fn all(&self) -> &[Key] {
        &self.keys
    }

    /// The subcommands that have settings.
    pub(super) fn is_command(&self, name: &str) -> bool {
        self.commands.contains(name)
    }

    /// What an entry of a file means.
    ///
    /// # Errors
    /// No such key, or a kind of value that no flag of that name takes (exit 78).
    pub(super) fn resolve(&self, raw: RawEntry, path: &Path) -> Result<Entry, Failure> {
        let written = match &raw.table {
            Some(table) => format!("{table}.{}", raw.key),
            None => raw.key.clone(),
        };
        let table = raw.table.as_deref().map(normal);
        let Some((scope, key)) = self.meant(table.as_deref(), &normal(&raw.key)) else {
            return Err(self.unknown(&raw, &written, path));
        };
        if raw.value.texts(&key.arg).is_none() {
            let expected = super::value::expected_kind(&key.arg);
            let what = format!("key {written} needs {expected}");
            return Err(wrong(path, raw.line, &what));
        }
        if scope.is_none() && self.is_of_one_command(&key.long) {
            let what = format!("key {written} would be that of every command");
            let (long, example) = (&key.long, self.example_of(&key.long));
            return Err(wrong(path, raw.line, &what)
                .cause(format!("two commands at once cannot have the same {long}"))
                .hint(format!(
                    "write it for one of them, as {example}.{long}; another needs its own"
                )));
        }
        if raw.value.is_empty_list() && super::value::refuses_nothing(&key.arg) {
            let what = format!("key {written} is an empty list");
            let default = super::value::told_default(&key.arg);
            let means =
                default.map_or_else(String::new, |default| format!(", which means {default}"));
            let hint = format!("name at least one, or take the key away{means}");
            return Err(wrong(path, raw.line, &what).hint(hint));
        }
        Ok(Entry {
            scope: scope.map(ToOwned::to_owned),
            long: key.long.clone(),
            written,
            line: raw.line,
            value: raw.value,
            span: raw.span,
        })
    }

    /// The scope and flag that `key` in `table` means: a table may be named as a subcommand, as a group of `--help`, or
    /// as the first word of flags.
    fn meant<'a>(
        &'a self,
        table: Option<&'a str>,
        key: &str,
    ) -> Option<(Option<&'a str>, &'a Key)> {
        let Some(table) = table else {
            return self.spelled(None, key).map(|found| (None, found));
        };
        if self.is_command(table)
            && let Some(found) = self.spelled(Some(table), key)
        {
            return Some((Some(table), found));
        }
        if let Some(found) = self.spelled(None, &format!("{table}-{key}")) {
            return Some((None, found));
        }
        let is_heading = |known: &Key| {
            known
                .heading()
                .is_some_and(|heading| heading.eq_ignore_ascii_case(table))
        };
        let begins = |known: &Key| {
            known
                .long
                .strip_prefix(table)
                .is_some_and(|rest| rest.starts_with('-'))
        };
        let is_table = self
            .keys
            .iter()
            .any(|known| is_heading(known) || begins(known));
        let found = self.spelled(None, key).filter(|_| is_table)?;
        Some((None, found))
    }

    /// The first flag of this name in the scope; `None` = anywhere.
    pub(super) fn spelled(&self, scope: Option<&str>, spelling: &str) -> Option<&Key> {
        self.keys.iter().find(|key| {
            let fits =
                scope.is_none() || key.command.as_deref() == scope || key.arg.is_global_set();
            fits && key.is_spelled(spelling)
        })
    }

    /// What to say of a key of another program, if it is one.
    ///
    /// # Errors
    /// It must not be ignored (exit 78).
    pub(super) fn foreign_notice(
        &self,
        raw: &RawEntry,
        path: &Path,
    ) -> Result<Option<String>, Failure> {
        let name = normal(&raw.key);
        match self.foreign.iter().find(|foreign| foreign.name == name) {
            Some(Foreign {
                treatment: Treatment::Refused(hint),
                ..
            }) => {
                let what = format!("key {} is not supported", raw.key);
                Err(wrong(path, raw.line, &what).hint(*hint))
            }
            Some(Foreign {
                treatment: Treatment::Ignored(why),
                ..
            }) => Ok(Some(format!("{name} ({why})"))),
            None => Ok(None),
        }
    }

    fn unknown(&self, raw: &RawEntry, written: &str, path: &Path) -> Failure {
        let failure = wrong(path, raw.line, &format!("unknown key {written}"));
        let hint = match self.near(&raw.key) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("keys are named as the flags in {} --help", self.program),
        };
        failure.hint(hint)
    }

    /// The long name that was probably meant.
    pub(super) fn near(&self, key: &str) -> Option<&str> {
        nearest(
            &normal(key),
            self.keys.iter().map(|known| known.long.as_str()),
        )
    }
}

fn push_keys(keys: &mut Vec<Key>, command: Option<&str>, from: &Command) {
    for arg in from.get_arguments() {
        let Some(long) = arg.get_long() else {
            continue;
        };
        if arg.get_env().is_some() && !chooses_files(arg) {
            keys.push(Key {
                command: command.map(ToOwned::to_owned),
                long: long.to_owned(),
                arg: arg.clone(),
            });
        }
    }
}

/// Keys are written with `-` or `_`.
pub(super) fn normal(key: &str) -> String {
    key.replace('_', "-")
}
