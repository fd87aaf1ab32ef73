//! Directions between our crates, and what comes from outside.

use std::collections::{BTreeMap, BTreeSet};

use crate::metadata::{METADATA, compiled_alone};

/// The only arrows between our crates in what is compiled into a user's binary.
const ARROWS: [(&str, &[&str]); 10] = [
    ("block-protocol", &[]),
    ("block-network", &["block-protocol"]),
    ("block-model", &[]),
    (
        "block-program",
        &["block-model", "block-network", "block-protocol"],
    ),
    ("block-testing", &[]),
    (
        "benches",
        &[
            "block-client",
            "block-model",
            "block-network",
            "block-program",
            "block-protocol",
            "block-server",
        ],
    ),
    (
        "block-client",
        &["block-model", "block-network", "block-protocol"],
    ),
    (
        "block-gateway",
        &[
            "block-client",
            "block-model",
            "block-network",
            "block-protocol",
        ],
    ),
    (
        "block-server",
        &[
            "block-model",
            "block-network",
            "block-program",
            "block-protocol",
        ],
    ),
    (
        "swarm",
        &[
            "block-client",
            "block-gateway",
            "block-model",
            "block-network",
            "block-program",
            "block-protocol",
        ],
    ),
];

/// Arrows of tests that go up: the server's drive it with our client. Every crate's tests may use `block-testing`.
const DEV_ARROWS: [(&str, &str); 1] = [("block-server", "block-client")];

/// No runtime, socket, clock, tensor library or source of randomness below the protocol: time and
/// random bytes are arguments there.
const NOT_IN_PROTOCOL: [&str; 9] = [
    "tokio",
    "libp2p",
    "candle-core",
    "rand",
    "rand_core",
    "getrandom",
    "fastrand",
    "chrono",
    "time",
];

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Crates of which two incompatible versions are compiled, with who holds the older one back. A new
/// pair belongs here only if no release of ours or of the crate named avoids it.
const DUPLICATES: [(&str, &str); 26] = [
    (
        "base64",
        "tokenizers' spm_precompiled; metrics-exporter-prometheus and hf-hub",
    ),
    ("block-buffer", RUST_CRYPTO),
    ("chacha20", RUST_CRYPTO),
    ("const-str", "libp2p's multibase"),
    ("cpufeatures", RUST_CRYPTO),
    ("crypto-common", RUST_CRYPTO),
    ("curve25519-dalek", RUST_CRYPTO),
    ("darling", DERIVE_BUILDER),
    ("darling_core", DERIVE_BUILDER),
    ("darling_macro", DERIVE_BUILDER),
    ("digest", RUST_CRYPTO),
    ("foldhash", HASHBROWN),
    ("getrandom", RAND),
    ("hashbrown", HASHBROWN),
    ("nix", "rtnetlink under libp2p's interface watcher"),
    ("rand", RAND),
    ("rand_core", RAND),
    ("sha1", "axum's WebSockets"),
    ("sha2", RUST_CRYPTO),
    ("syn", DERIVES),
    ("synstructure", DERIVES),
    ("thiserror", "rtnetlink under libp2p's interface watcher"),
    (
        "thiserror-impl",
        "rtnetlink under libp2p's interface watcher",
    ),
    ("tower-http", "reqwest under hf-hub"),
    ("unicode-width", "miette under protox, for tests"),
    ("yasna", "rcgen under libp2p-tls"),
];
const RUST_CRYPTO: &str = "snow under libp2p-noise stays on the RustCrypto generation before";
const DERIVE_BUILDER: &str = "derive_builder under tokenizers";
const HASHBROWN: &str = "petgraph, metrics-util and safetensors";
const RAND: &str = "candle-core, ring and snow";
const DERIVES: &str = "derive crates move to syn 3 one by one";

#[test]
fn crates_depend_in_one_direction() {
    let ours: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    for (name, allowed) in ARROWS {
        let found: BTreeSet<&str> = METADATA
            .normal_tree(name)
            .into_iter()
            .filter(|other| *other != name && ours.contains(other))
            .collect();
        let allowed = allowed.iter().copied().collect();
        assert!(
            found.is_subset(&allowed),
            "{name} depends on {found:?}, may depend on {allowed:?}"
        );
    }
}

#[test]
fn every_crate_of_the_workspace_has_its_arrows() {
    let members: BTreeSet<&str> = METADATA
        .packages
        .iter()
        .filter(|package| METADATA.workspace_members.contains(&package.id))
        .map(|package| package.name.as_str())
        .collect();
    assert_eq!(members, ARROWS.iter().map(|(name, _)| *name).collect());
}

#[test]
fn the_protocol_is_pure() {
    let tree = compiled_alone("block-protocol");
    let impure: Vec<_> = NOT_IN_PROTOCOL
        .iter()
        .filter(|name| tree.contains(**name))
        .collect();
    assert!(impure.is_empty(), "block-protocol compiles in {impure:?}");
}

#[test]
fn tests_of_lower_crates_do_not_reach_up() {
    for (name, allowed) in ARROWS {
        for dependency in &METADATA.member(name).dependencies {
            let is_for_tests = dependency.kind.as_deref() == Some("dev");
            let is_exception = is_for_tests
                && (dependency.name == "block-testing"
                    || DEV_ARROWS.contains(&(name, dependency.name.as_str())));
            let is_ours = ARROWS.iter().any(|(other, _)| *other == dependency.name);
            let is_fine = !is_ours || allowed.contains(&dependency.name.as_str()) || is_exception;
            assert!(
                is_fine,
                "{name} has a {:?} dependency on {}",
                dependency.kind, dependency.name
            );
        }
    }
}

#[test]
fn dependencies_are_releases_of_the_registry() {
    for package in &METADATA.packages {
        let is_member = METADATA.workspace_members.contains(&package.id);
        assert_eq!(
            package.source.as_deref(),
            (!is_member).then_some(CRATES_IO),
            "source of {}",
            package.name
        );
        let has_suffix = package.version.split('+').next().unwrap().contains('-');
        assert!(
            !has_suffix,
            "{} {} is a pre-release",
            package.name, package.version
        );
    }
    let manifest = std::fs::read_to_string(crate::tree::repository().join("Cargo.toml")).unwrap();
    assert!(
        !manifest.contains("[patch") && !manifest.contains("[replace"),
        "patched dependencies"
    );
}

#[test]
fn every_duplicate_has_a_reason() {
    let mut versions: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for package in &METADATA.packages {
        versions
            .entry(&package.name)
            .or_default()
            .insert(compatibility(&package.version));
    }
    let found: BTreeMap<_, _> = versions
        .into_iter()
        .filter(|(_, versions)| versions.len() > 1)
        .collect();
    let allowed: BTreeSet<&str> = DUPLICATES.iter().map(|(name, _)| *name).collect();
    let unexplained: Vec<_> = found
        .iter()
        .filter(|(name, _)| !allowed.contains(*name))
        .collect();
    assert!(
        unexplained.is_empty(),
        "several incompatible versions without a reason in DUPLICATES: {unexplained:?}"
    );
    let outdated: Vec<_> = allowed
        .iter()
        .filter(|name| !found.contains_key(*name))
        .collect();
    assert!(
        outdated.is_empty(),
        "listed in DUPLICATES, but there is one version only: {outdated:?}"
    );
}

/// The part of a version that two releases share when one can stand in for the other.
fn compatibility(version: &str) -> String {
    let mut parts = version.split(['.', '-', '+']);
    let mut prefix = String::from(parts.next().unwrap());
    for part in parts {
        if prefix.split('.').any(|number| number != "0") {
            break;
        }
        prefix = format!("{prefix}.{part}");
    }
    prefix
}
