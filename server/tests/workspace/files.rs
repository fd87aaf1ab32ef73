//! Lengths, names and words of our files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::tree::{files, text};

const CRATES: [&str; 9] = [
    "protocol",
    "network",
    "model",
    "program",
    "server",
    "client",
    "client/cli",
    "client/gateway",
    "testing",
];

/// Longer files hold more than one concept.
const MAX_LINES: usize = 400;

/// Files over the cap, each with its reason. Generated code is exempt by itself.
const LONG_FILES: [(&str, &str); 0] = [];

/// Say nothing about what is inside.
const EMPTY_NAMES: [&str; 6] = [
    "utils.rs",
    "util.rs",
    "common.rs",
    "helpers.rs",
    "types.rs",
    "misc.rs",
];

/// The reference's words for what the glossary calls a server or a block.
const BANNED_WORDS: [&str; 2] = ["worker", "expert"];

/// Names of other crates that hold a banned word; and, since
/// of a block with several MLPs the field says experts, as `config.json` does, those.
const FOREIGN_IDENTIFIERS: [&str; 6] = [
    "worker_threads",
    "expert",
    "experts",
    "num_experts",
    "num_experts_per_tok",
    "MAX_EXPERTS",
];

#[test]
fn no_source_file_is_too_long() {
    let too_long = sources().filter_map(|path| {
        let text = text(&path)?;
        let is_generated = text.lines().take(3).any(|line| line.contains("@generated"));
        let is_listed = LONG_FILES.iter().any(|(name, _)| path == Path::new(name));
        let lines = text
            .lines()
            .take_while(|line| !line.starts_with("#[cfg(test)]"))
            .count();
        let is_too_long = lines > MAX_LINES && !is_generated && !is_listed;
        is_too_long.then(|| format!("{}: {lines} lines before its tests", path.display()))
    });
    assert_none("longer than a reader's patience", too_long);
}

#[test]
fn file_names_say_what_is_inside() {
    let is_empty = |path: &PathBuf| EMPTY_NAMES.iter().any(|name| path.ends_with(name));
    assert_none(
        "named for nothing",
        sources()
            .filter(is_empty)
            .map(|path| path.display().to_string()),
    );
}

#[test]
fn identifiers_use_our_words() {
    let protocol: BTreeSet<String> = files("protocol/src")
        .iter()
        .filter_map(|path| text(path))
        .flat_map(|text| identifiers(&text))
        .collect();
    let is_foreign =
        |name: &String| protocol.contains(name) || FOREIGN_IDENTIFIERS.contains(&name.as_str());
    let is_banned = |name: &String| {
        words(name)
            .iter()
            .any(|word| BANNED_WORDS.contains(&word.as_str()))
    };
    let found = sources()
        .filter(|path| !path.starts_with("protocol"))
        .flat_map(|path| {
            let names = identifiers(&text(&path).unwrap_or_default()).into_iter();
            let banned = names.filter(|name| is_banned(name) && !is_foreign(name));
            banned
                .map(|name| format!("{}: `{name}`", path.display()))
                .collect::<Vec<_>>()
        });
    assert_none("another word for what the glossary names", found);
}

#[test]
fn nothing_names_one_machine() {
    // Assembled here, or this file would find itself.
    let places = ["home", "root", "Users", "work", "tmp"].map(|folder| format!("/{folder}/"));
    let found = files("").into_iter().flat_map(|path| {
        let text = text(&path).unwrap_or_default();
        let is_named = |line: &str| places.iter().any(|place| stands_alone(line, place));
        let lines = text.lines().enumerate().filter(|(_, line)| is_named(line));
        lines
            .map(|(number, line)| format!("{}:{}: {line}", path.display(), number + 1))
            .collect::<Vec<_>>()
    });
    assert_none("places of one machine", found);
}

/// Servers whose script says to answer late: nothing waits for them by time.
const SLOW_ON_PURPOSE: &str = "client/tests/chain/fake/session.rs";

#[test]
fn tests_are_neither_skipped_nor_asleep() {
    let ignored = format!("#[{}", "ignore");
    let asleep = ["thread", "time"].map(|module| format!("{module}::{}(", "sleep"));
    let found = CRATES
        .iter()
        .flat_map(|folder| files(folder))
        .filter(|path| is_rust(path) && !path.ends_with(SLOW_ON_PURPOSE))
        .filter_map(|path| {
            let text = text(&path)?;
            let is_test = path.components().any(|part| part.as_os_str() == "tests")
                || path.ends_with("tests.rs");
            // Under a paused clock a sleep takes no time: it moves the clock.
            let sleeps = is_test
                && !text.contains("start_paused")
                && asleep.iter().any(|call| text.contains(call));
            let problem = if text.contains(&ignored) {
                "skipped"
            } else {
                "asleep"
            };
            (text.contains(&ignored) || sleeps).then(|| format!("{}: {problem}", path.display()))
        });
    assert_none("tests that wait for a time or do not run", found);
}

fn assert_none(what: &str, found: impl IntoIterator<Item = String>) {
    let found: Vec<_> = found.into_iter().collect();
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

fn sources() -> impl Iterator<Item = PathBuf> {
    CRATES
        .iter()
        .flat_map(|folder| files(&format!("{folder}/src")))
        .filter(|path| is_rust(path))
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

/// Whether `place` begins a path in `line`, rather than continuing one (as in a URL or `target/tmp/`).
fn stands_alone(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !(c.is_alphanumeric() || "_.-~}$)/\"".contains(c)) || c == '"')
    })
}

/// Identifiers of a Rust text, without those in comments and string literals on lines of their own kind.
fn identifiers(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let code = line.split("//").next().unwrap_or_default();
        // Every other piece between quotation marks is text.
        for piece in code.split('"').step_by(2) {
            let split = piece.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            found.extend(split.filter(|word| !word.is_empty()).map(str::to_owned));
        }
    }
    found
}

/// The words of an identifier in any of Rust's spellings, in lower case and singular.
fn words(identifier: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut previous_is_lower = false;
    for c in identifier.chars() {
        if c == '_' || (c.is_uppercase() && previous_is_lower) {
            words.push(String::new());
        }
        if c != '_' {
            words.last_mut().unwrap().extend(c.to_lowercase());
        }
        previous_is_lower = c.is_lowercase() || c.is_numeric();
    }
    words
        .into_iter()
        .map(|word| word.trim_end_matches('s').to_owned())
        .collect()
}
