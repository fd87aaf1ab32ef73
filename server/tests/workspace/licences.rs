//! Every dependency can be used under a licence of the allow list.

use crate::metadata::METADATA;

/// Permissive, or (MPL-2.0, Unicode-3.0, CDLA) without any claim on the code beside it.
const ALLOWED: [&str; 13] = [
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "MPL-2.0",
    "Unicode-3.0",
];

#[test]
fn every_licence_is_allowed() {
    for package in &METADATA.packages {
        let Some(licence) = &package.license else {
            panic!("{} names no licence", package.name)
        };
        assert!(is_allowed(licence), "{} is under {licence}", package.name);
    }
}

#[test]
fn our_crates_are_under_both_licences() {
    for package in METADATA
        .packages
        .iter()
        .filter(|package| METADATA.workspace_members.contains(&package.id))
    {
        assert_eq!(
            package.license.as_deref(),
            Some("MIT OR Apache-2.0"),
            "{}",
            package.name
        );
    }
}

#[test]
fn expressions_are_understood() {
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("MIT/Apache-2.0", true),
        ("ISC AND (GPL-3.0 OR MIT)", true),
        ("(MIT OR GPL-3.0) AND GPL-3.0", false),
        ("Apache-2.0 WITH LLVM-exception", true),
    ] {
        assert_eq!(is_allowed(expression), expected, "{expression}");
    }
}

/// Whether some choice that the SPDX expression offers is on the list.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &tokens[..];
    let allowed = any(&mut rest);
    assert!(
        rest.is_empty(),
        "cannot read the licence expression {expression}"
    );
    allowed
}

fn any(rest: &mut &[&str]) -> bool {
    let mut allowed = all(rest);
    while take(rest, "OR") {
        allowed |= all(rest);
    }
    allowed
}

fn all(rest: &mut &[&str]) -> bool {
    let mut allowed = one(rest);
    while take(rest, "AND") {
        allowed &= one(rest);
    }
    allowed
}

fn one(rest: &mut &[&str]) -> bool {
    if take(rest, "(") {
        let allowed = any(rest);
        assert!(
            take(rest, ")"),
            "an open parenthesis in a licence expression"
        );
        return allowed;
    }
    let (licence, after) = rest
        .split_first()
        .expect("a licence where an expression expects one");
    *rest = after;
    if take(rest, "WITH") {
        // An exception only ever permits more.
        *rest = &rest[1..];
    }
    ALLOWED.contains(licence)
}

fn take(rest: &mut &[&str], token: &str) -> bool {
    let is_next = rest.first() == Some(&token);
    if is_next {
        *rest = &rest[1..];
    }
    is_next
}
