//! One configuration file: TOML, or YAML by its extension.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::keys::Keys;
use super::value::FileValue;
use super::{toml_file, yaml_file};
use crate::error_report::{Exit, Failure};

/// One key of a file as it stands there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RawEntry {
    /// The table that it stands in.
    pub(super) table: Option<String>,
    /// The key.
    pub(super) key: String,
    /// 1-based line of the key.
    pub(super) line: usize,
    /// Its value.
    pub(super) value: FileValue,
    /// Bytes of the value, where the format tells.
    pub(super) span: Option<Range<usize>>,
}

/// One key of a file, and which flag it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The subcommand that it is for; `None` = all that have the flag.
    pub(super) scope: Option<String>,
    /// Long name of the flag.
    pub(super) long: String,
    /// The key as written, with its table.
    pub(super) written: String,
    /// 1-based line of the key.
    pub(super) line: usize,
    /// Its value.
    pub(super) value: FileValue,
    /// Bytes of the value, where the format tells.
    pub(super) span: Option<Range<usize>>,
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct ConfigFile {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Its keys, in their order.
    pub(super) entries: Vec<Entry>,
    /// Keys of other programs that were dropped, each with the reason.
    pub(super) ignored: Vec<String>,
}

impl ConfigFile {
    /// Reads and resolves every key against the flags of the program.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML or YAML, or has an unknown key; the failure names file, line and nearest
    /// key (exit 78).
    pub(super) fn read(path: &Path, keys: &Keys) -> Result<Self, Failure> {
        Self::of_text(&text_of(path)?, path, keys)
    }

    /// As [`Self::read`], with the text at hand.
    pub(super) fn of_text(text: &str, path: &Path, keys: &Keys) -> Result<Self, Failure> {
        let raw = if is_yaml(path) {
            yaml_file::entries(text, path)?
        } else {
            toml_file::entries(text, path)?
        };
        let mut file = Self {
            path: path.to_owned(),
            entries: Vec::new(),
            ignored: Vec::new(),
        };
        for raw in raw {
            if let Some(notice) = keys.foreign_notice(&raw, path)? {
                file.ignored.push(notice);
                continue;
            }
            file.push(keys.resolve(raw, path)?)?;
        }
        Ok(file)
    }

    /// The formats refuse a repeated key; this finds one flag under two spellings.
    fn push(&mut self, entry: Entry) -> Result<(), Failure> {
        let same = |earlier: &&Entry| earlier.scope == entry.scope && earlier.long == entry.long;
        if let Some(first) = self.entries.iter().find(same) {
            let (earlier, later) = if first.line <= entry.line {
                (first, &entry)
            } else {
                (&entry, first)
            };
            return Err(wrong(
                &self.path,
                later.line,
                &format!("{} is set twice", later.written),
            )
            .cause(format!(
                "line {} sets it as {}",
                earlier.line, earlier.written
            )));
        }
        self.entries.push(entry);
        Ok(())
    }
}

/// The text of a configuration file.
///
/// # Errors
/// It cannot be read, or is longer than any real one (exit 78).
pub(super) fn text_of(path: &Path) -> Result<String, Failure> {
    let unreadable = |error: &std::io::Error| {
        let what = format!("cannot read the configuration file {}", path.display());
        Failure::new(Exit::BadConfig, what).caused_by(error)
    };
    let size = std::fs::metadata(path)
        .map_err(|error| unreadable(&error))?
        .len();
    if size > MAX_FILE_BYTES {
        let what = format!("{} has {size} bytes", path.display());
        return Err(Failure::new(Exit::BadConfig, what).hint(format!(
            "a configuration file has at most {MAX_FILE_BYTES} bytes"
        )));
    }
    std::fs::read_to_string(path).map_err(|error| unreadable(&error))
}

/// Whether the extension says YAML.
pub(super) fn is_yaml(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "yml" || extension == "yaml")
}

/// A failure that names file and line.
pub(super) fn wrong(path: &Path, line: usize, what: &str) -> Failure {
    Failure::new(
        Exit::BadConfig,
        format!("{}:{line}: {what}", path.display()),
    )
}

/// 1-based line of a byte.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    let before = text.bytes().take(offset);
    before.filter(|byte| *byte == b'\n').count() + 1
}

/// Largest configuration file read; a real one is a few KiB.
const MAX_FILE_BYTES: u64 = 1 << 20;
