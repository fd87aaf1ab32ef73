//! The configuration file: TOML, keys named as the flags.
//!
//! Keys may stand at the top or in a table. The tables
//! `[swarm]`, `[network]`, `[limits]`, `[speed]` and `[files]` only group; in `[log]`
//! and `[admin]` the table's name is the first word of the flag (`[log] level` is
//! `--log-level`). `_` and `-` are the same. Every value goes through its flag's parser.

use std::ffi::OsString;
use std::path::Path;

use block_program::{Exit, Failure};
use clap::{ArgAction, Command};
use toml::de::{DeTable, DeValue};

/// Largest configuration file read; a real one is a few KiB.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// One key of the file, resolved to its flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileEntry {
    /// The flag's id in the parser.
    pub(crate) id: String,
    /// The key as written, with its table.
    key: String,
    /// 1-based line of the key.
    line: usize,
    flag: String,
    value: EntryValue,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum EntryValue {
    /// A switch that is on.
    On,
    /// A switch that is off: the flag is left out.
    Off,
    /// A count of a counted flag.
    Repeat(usize),
    /// One value, or several of a list.
    Values(Vec<String>),
}

impl FileEntry {
    /// The entry as command-line arguments.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        match &self.value {
            EntryValue::Off => Vec::new(),
            EntryValue::On => vec![self.flag.clone().into()],
            EntryValue::Repeat(count) => vec![self.flag.clone().into(); *count],
            // `--flag=value` keeps a list from swallowing what follows it.
            EntryValue::Values(values) => values
                .iter()
                .map(|value| format!("{}={value}", self.flag).into())
                .collect(),
        }
    }
}

/// Reads and resolves every key of the file against the flags of `command`.
///
/// # Errors
/// The file cannot be read, is not TOML, has an unknown key, or a value of a
/// kind no flag takes; the failure names file, line and nearest key (exit 78).
pub(crate) fn read(path: &Path, command: &Command) -> Result<Vec<FileEntry>, Failure> {
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default();
    if matches!(extension, "yml" | "yaml") {
        return Err(bad_config(format!("{} is YAML", path.display()))
            .hint("write the same keys as TOML: public-name = \"alice\""));
    }
    let text = read_bounded(path)?;
    resolve(&text, path, command)
}

/// Long names of the flags that a file can set, each once.
pub(crate) fn settings(command: &Command) -> Vec<String> {
    let mut names: Vec<_> = Flags::of(command)
        .known
        .into_iter()
        .map(|(_, _, long, _)| long)
        .collect();
    names.dedup();
    names
}

/// A value that the flag's own parser refuses.
pub(crate) fn wrong_value(path: &Path, entry: &FileEntry, error: &clap::Error) -> Failure {
    let text = error.to_string();
    let reason = text.lines().next().unwrap_or_default();
    let reason = reason.trim_start_matches("error: ");
    bad_config(format!(
        "{}:{}: key {} has a wrong value",
        path.display(),
        entry.line,
        entry.key
    ))
    .cause(reason)
    .hint(format!("block-server --help explains {}", entry.flag))
}

fn read_bounded(path: &Path) -> Result<String, Failure> {
    let unreadable = |error: &std::io::Error| {
        bad_config(format!(
            "cannot read the configuration file {}",
            path.display()
        ))
        .caused_by(error)
    };
    let size = std::fs::metadata(path)
        .map_err(|error| unreadable(&error))?
        .len();
    if size > MAX_FILE_BYTES {
        return Err(
            bad_config(format!("{} has {size} bytes", path.display())).hint(format!(
                "a configuration file has at most {MAX_FILE_BYTES} bytes"
            )),
        );
    }
    std::fs::read_to_string(path).map_err(|error| unreadable(&error))
}

fn resolve(text: &str, path: &Path, command: &Command) -> Result<Vec<FileEntry>, Failure> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        bad_config(format!("{}:{line}: not valid TOML", path.display())).cause(error.message())
    })?;
    let flags = Flags::of(command);
    let mut entries: Vec<FileEntry> = Vec::new();
    let mut add = |table_name: Option<&str>, key: &str, at: usize, value: &DeValue<'_>| {
        let line = line_of(text, at);
        let entry = flags
            .entry(table_name, key, value)
            .map_err(|problem| problem.report(path, line))?;
        entries.push(FileEntry { line, ..entry });
        Ok(())
    };
    for (key, value) in table.get_ref() {
        let name = normal(key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) if TABLES.contains(&name.as_str()) => {
                for (inner_key, inner_value) in inner {
                    let at = inner_key.span().start;
                    add(Some(&name), inner_key.get_ref(), at, inner_value.get_ref())?;
                }
            }
            other => add(None, key.get_ref(), key.span().start, other)?,
        }
    }
    entries.sort_by_key(|entry| entry.line);
    refuse_repeated(&entries, path)?;
    Ok(entries)
}

/// TOML itself refuses a repeated key; this finds one flag under two spellings.
fn refuse_repeated(entries: &[FileEntry], path: &Path) -> Result<(), Failure> {
    for (number, entry) in entries.iter().enumerate() {
        if let Some(first) = entries[..number]
            .iter()
            .find(|earlier| earlier.id == entry.id)
        {
            let what = format!(
                "{}:{}: {} is set twice",
                path.display(),
                entry.line,
                entry.key
            );
            return Err(
                bad_config(what).cause(format!("line {} sets it as {}", first.line, first.key))
            );
        }
    }
    Ok(())
}

/// The flags a file may set.
struct Flags {
    /// (spelling, id, long name, action), aliases included.
    known: Vec<(String, String, String, ArgAction)>,
}

impl Flags {
    fn of(command: &Command) -> Self {
        let mut known = Vec::new();
        for arg in command.get_arguments() {
            // A file cannot name another file, and help is not a setting.
            let (id, Some(long)) = (arg.get_id().as_str(), arg.get_long()) else {
                continue;
            };
            if matches!(id, "config" | "help" | "version") {
                continue;
            }
            let aliases = arg.get_all_aliases().unwrap_or_default();
            for spelling in std::iter::once(long).chain(aliases) {
                known.push((
                    spelling.to_owned(),
                    id.to_owned(),
                    long.to_owned(),
                    arg.get_action().clone(),
                ));
            }
        }
        Self { known }
    }

    fn entry(
        &self,
        table: Option<&str>,
        key: &str,
        value: &DeValue<'_>,
    ) -> Result<FileEntry, Problem> {
        let written = table.map_or_else(|| key.to_owned(), |table| format!("{table}.{key}"));
        let spelling = match table {
            Some(table) if PREFIX_TABLES.contains(&table) => format!("{table}-{}", normal(key)),
            _ => normal(key),
        };
        let Some((_, id, long, action)) = self.known.iter().find(|known| known.0 == spelling)
        else {
            return Err(Problem::Unknown {
                key: written,
                nearest: self.nearest(&spelling),
            });
        };
        let value = entry_value(value, action).ok_or_else(|| Problem::Kind {
            key: written.clone(),
            expected: expected_kind(action),
        })?;
        Ok(FileEntry {
            id: id.clone(),
            key: written,
            line: 0,
            flag: format!("--{long}"),
            value,
        })
    }

    /// The most similar long name, if any is similar at all.
    fn nearest(&self, spelling: &str) -> Option<String> {
        self.known
            .iter()
            .map(|known| (edit_distance(&known.0, spelling), &known.2))
            .filter(|(distance, _)| *distance <= spelling.len().div_ceil(3))
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, long)| long.clone())
    }
}

enum Problem {
    Unknown {
        key: String,
        nearest: Option<String>,
    },
    Kind {
        key: String,
        expected: &'static str,
    },
}

impl Problem {
    fn report(self, path: &Path, line: usize) -> Failure {
        match self {
            Self::Unknown { key, nearest } => {
                let failure = bad_config(format!("{}:{line}: unknown key {key}", path.display()));
                match nearest {
                    Some(nearest) => failure.hint(format!("did you mean {nearest}?")),
                    None => failure.hint("keys are named as the flags in block-server --help"),
                }
            }
            Self::Kind { key, expected } => bad_config(format!(
                "{}:{line}: key {key} needs {expected}",
                path.display()
            )),
        }
    }
}

/// The value as its flag takes it; `None` if the kind does not fit.
fn entry_value(value: &DeValue<'_>, action: &ArgAction) -> Option<EntryValue> {
    match (action, value) {
        (ArgAction::SetTrue, DeValue::Boolean(on)) => {
            Some(if *on { EntryValue::On } else { EntryValue::Off })
        }
        (ArgAction::Count, DeValue::Integer(_)) => scalar(value)?
            .parse()
            .ok()
            .filter(|count| *count <= MAX_REPEAT)
            .map(EntryValue::Repeat),
        (ArgAction::Append, DeValue::Array(items)) => items
            .iter()
            .map(|item| scalar(item.get_ref()))
            .collect::<Option<_>>()
            .map(EntryValue::Values),
        (ArgAction::Append | ArgAction::Set, _) => {
            scalar(value).map(|value| EntryValue::Values(vec![value]))
        }
        _ => None,
    }
}

fn expected_kind(action: &ArgAction) -> &'static str {
    match action {
        ArgAction::SetTrue => "true or false",
        ArgAction::Count => "a small whole number",
        ArgAction::Append => "a list of strings",
        _ => "a string or a number",
    }
}

/// Text of a string or number.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        _ => None,
    }
}

fn normal(key: &str) -> String {
    key.replace('_', "-")
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1
}

fn bad_config(what: String) -> Failure {
    Failure::new(Exit::BadConfig, what)
}

/// Levenshtein distance; both words are short.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

/// Tables that may appear in the file.
const TABLES: &[&str] = &[
    "swarm", "network", "limits", "speed", "files", "log", "admin",
];
/// Tables whose name is the first word of the flag.
const PREFIX_TABLES: &[&str] = &["log", "admin"];
/// Most repetitions of a counted flag (`verbose`).
const MAX_REPEAT: usize = 4;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn resolved(text: &str) -> Result<Vec<FileEntry>, Failure> {
        resolve(text, Path::new("c.toml"), &Cli::command())
    }

    fn arguments(text: &str) -> Vec<OsString> {
        resolved(text)
            .unwrap()
            .iter()
            .flat_map(FileEntry::arguments)
            .collect()
    }

    #[test]
    fn keys_become_their_flags() {
        let text = "model = \"m\"\nport = 0\ninitial_peers = [\"a\", \"b\"]\noffline = true\nnew-swarm = false\n\
                    [limits]\nmax-sessions = 3\nstep-timeout = 1.5\n[log]\nlevel = \"warn\"\n[admin]\nlisten = \"off\"\n";
        assert_eq!(
            arguments(text),
            [
                "--model=m",
                "--port=0",
                "--initial-peers=a",
                "--initial-peers=b",
                "--offline",
                "--max-sessions=3",
                "--step-timeout=1.5",
                "--log-level=warn",
                "--admin-listen=off"
            ]
        );
    }

    #[test]
    fn an_unknown_key_names_file_line_and_nearest_key() {
        let failure = resolved("model = \"m\"\npublik-name = \"x\"\n").unwrap_err();
        assert_eq!(failure.exit(), Exit::BadConfig);
        assert_eq!(
            failure.to_string(),
            "error: c.toml:2: unknown key publik-name\n  hint: did you mean public-name?"
        );
        let failure = resolved("[limits]\nmax-session = 1\n").unwrap_err();
        assert!(
            failure.to_string().contains("did you mean max-sessions?"),
            "{failure}"
        );
        let failure = resolved("zzzzzzzz = 1\n").unwrap_err();
        assert!(
            failure.to_string().contains("block-server --help"),
            "{failure}"
        );
    }

    #[test]
    fn a_file_cannot_name_another_file() {
        assert!(resolved("config = \"other.toml\"\n").is_err());
    }

    #[test]
    fn a_key_is_set_once_however_spelled() {
        let failure = resolved("port = 1\n[network]\nport = 2\n").unwrap_err();
        assert!(
            failure.to_string().contains("line 1 sets it as port"),
            "{failure}"
        );
        assert!(resolved("dtype = \"f32\"\ntorch_dtype = \"f32\"\n").is_err());
    }

    #[test]
    fn kinds_are_checked() {
        for wrong in [
            "port = true",
            "offline = \"yes\"",
            "model = [\"m\"]",
            "initial-peers = [1.5, [2]]",
            "model = {a = 1}",
        ] {
            let failure = resolved(wrong).unwrap_err();
            assert_eq!(failure.exit(), Exit::BadConfig, "{wrong}");
        }
    }

    #[test]
    fn broken_toml_names_the_line() {
        let failure = resolved("model = \"m\"\nport = = 3\n").unwrap_err();
        assert!(
            failure
                .to_string()
                .starts_with("error: c.toml:2: not valid TOML"),
            "{failure}"
        );
    }

    #[test]
    fn edit_distances() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "ab"), 2);
        assert_eq!(edit_distance("same", "same"), 0);
    }
}
