//! `docs/operations/metrics.md` says what the programs export: no more, no less.

use std::collections::{BTreeMap, BTreeSet};

use block_testing::repository;

use crate::exposition::Exposition;

/// One line of the page's tables.
#[derive(Debug)]
struct Documented {
    kind: String,
    /// Label → its values, or nothing for an open set.
    labels: BTreeMap<String, Option<BTreeSet<String>>>,
    help: String,
}

fn documented() -> BTreeMap<String, Documented> {
    let page = std::fs::read_to_string(repository().join("docs/operations/metrics.md")).unwrap();
    let mut found = BTreeMap::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", name, kind, labels, help, ""] = cells[..] else {
            continue;
        };
        let Some(name) = name.strip_prefix('`') else {
            continue;
        };
        let metric = Documented {
            kind: kind.to_owned(),
            labels: labels.split("; ").filter_map(label).collect(),
            help: help.to_owned(),
        };
        let twice = found.insert(name.trim_end_matches('`').to_owned(), metric);
        assert!(twice.is_none(), "{name} stands there twice");
    }
    assert!(!found.is_empty());
    found
}

/// `key=a/b` has these values, `key` any.
fn label(text: &str) -> Option<(String, Option<BTreeSet<String>>)> {
    match text.split_once('=') {
        Some((key, values)) => {
            let values = values.split('/').map(str::to_owned).collect();
            Some((key.to_owned(), Some(values)))
        }
        None if text.is_empty() => None,
        None => Some((text.to_owned(), None)),
    }
}

/// Compares the page with what running processes export.
pub(crate) fn assert_documented(exported: &[Exposition]) {
    let documented = documented();
    let mut seen = BTreeSet::new();
    for (name, family) in exported.iter().flatten() {
        seen.insert(name);
        let Some(page) = documented.get(name) else {
            panic!("{name} is not in docs/operations/metrics.md");
        };
        // The exporter knows seconds and bytes by the name alone.
        assert_eq!(
            (&page.kind, &page.help),
            (&family.kind, &family.help),
            "{name}"
        );
        for (key, values) in &family.labels {
            let Some(allowed) = page.labels.get(key) else {
                panic!("{name} has a label {key} that the page does not name");
            };
            if let Some(allowed) = allowed {
                assert!(
                    values.is_subset(allowed),
                    "{name}: {key} is {values:?}, on the page {allowed:?}"
                );
            }
        }
    }
    let missing: Vec<_> = documented
        .keys()
        .filter(|name| !seen.contains(name))
        .collect();
    assert!(
        missing.is_empty(),
        "on the page, but nobody exports it: {missing:?}"
    );
}
