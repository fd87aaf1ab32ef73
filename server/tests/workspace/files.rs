//! Lengths, names and words of our files.

use std::collections::BTreeSet;
use std::path::Path;

use crate::tree::{files, text};

const CRATES: [&str; 5] = ["protocol", "network", "model", "server", "client"];

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

/// Names of other crates that hold a banned word.
const FOREIGN_IDENTIFIERS: [&str; 1] = ["worker_threads"];

#[test]
fn no_source_file_is_too_long() {
    for path in sources() {
        let text = text(&path).unwrap();
        if text.starts_with("// @generated") || text.starts_with("// This file is @generated") {
            continue;
        }
        let lines = text
            .lines()
            .take_while(|line| !line.starts_with("#[cfg(test)]"))
            .count();
        let is_listed = LONG_FILES.iter().any(|(name, _)| path == Path::new(name));
        assert!(
            lines <= MAX_LINES || is_listed,
            "{} has {lines} lines before its tests",
            path.display()
        );
    }
}

#[test]
fn file_names_say_what_is_inside() {
    for path in sources() {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(
            !EMPTY_NAMES.contains(&name),
            "{} needs a name",
            path.display()
        );
    }
}

#[test]
fn identifiers_use_our_words() {
    let protocol: BTreeSet<String> = files("protocol/src")
        .iter()
        .filter_map(|path| text(path))
        .flat_map(|text| identifiers(&text))
        .collect();
    for path in sources().filter(|path| !path.starts_with("protocol")) {
        for identifier in identifiers(&text(&path).unwrap()) {
            let is_banned = words(&identifier)
                .iter()
                .any(|word| BANNED_WORDS.contains(&word.as_str()));
            let is_foreign = protocol.contains(&identifier)
                || FOREIGN_IDENTIFIERS.contains(&identifier.as_str());
            assert!(
                !is_banned || is_foreign,
                "{}: `{identifier}`",
                path.display()
            );
        }
    }
}

#[test]
fn nothing_names_one_machine() {
    // Assembled here, or this file would find itself.
    let places = ["home", "root", "Users", "work", "tmp"].map(|folder| format!("/{folder}/"));
    for path in files("") {
        let Some(text) = text(&path) else { continue };
        for (number, line) in text.lines().enumerate() {
            let place = places.iter().find(|place| stands_alone(line, place));
            assert_eq!(
                place,
                None,
                "{}:{} names a place of one machine: {line}",
                path.display(),
                number + 1
            );
        }
    }
}

#[test]
fn tests_are_neither_skipped_nor_asleep() {
    let ignored = format!("#[{}", "ignore");
    let asleep = [
        format!("thread::{}(", "sleep"),
        format!("time::{}(", "sleep"),
    ];
    for path in CRATES
        .iter()
        .flat_map(|folder| files(folder))
        .filter(|path| is_rust(path))
    {
        let text = text(&path).unwrap();
        assert!(!text.contains(&ignored), "{} skips a test", path.display());
        let is_test = path.iter().any(|part| part == "tests");
        for call in asleep.iter().filter(|_| is_test) {
            assert!(
                !text.contains(call),
                "{} waits for a time, not for a condition",
                path.display()
            );
        }
    }
}

fn sources() -> impl Iterator<Item = std::path::PathBuf> {
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
