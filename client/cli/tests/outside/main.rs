//! `examples/outside`, a program outside the workspace, builds and generates.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step of a test ends the test; the lint's exemption does not reach helpers of integration tests"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use block_testing::programs::build_folder;
use block_testing::{BlockServer, Home, Span, fable, repository};
use serde_json::Value;

/// As servers and clients derive it from the model's name.
const PREFIX: &str = "fable-7m-hf";

#[test]
fn it_continues_a_story() {
    let span = Span {
        prefix: PREFIX,
        blocks: "0:8",
        dtype: "f32",
        flags: &[],
    };
    let server = BlockServer::spawn("server", &fable(), &span, None);
    let golden = std::fs::read_to_string(fable().join("golden.json")).unwrap();
    let golden: Value = serde_json::from_str(&golden).unwrap();
    let story = &golden["prompts"][0];
    let address = server.await_ready().address;
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--offline"])
        .arg("--manifest-path")
        .arg(repository().join("examples/outside/Cargo.toml"))
        // Most of what it depends on is there already, if it is built in the same way.
        .arg("--target-dir")
        .arg(build_folder().parent().unwrap())
        .arg("--config")
        .arg(profiles_of_the_workspace())
        .arg("--")
        .arg(fable())
        .args([address.as_str(), story["prompt"].as_str().unwrap()])
        .output()
        .unwrap();
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "{stderr}");
    // Our own command, over the same route, writes the same text.
    let prompt = story["prompt"].as_str().unwrap();
    let own = Home::new("swarm").output([
        "run",
        fable().to_str().unwrap(),
        prompt,
        "--initial-peers",
        address.as_str(),
        "--max-tokens",
        "64",
    ]);
    assert_eq!(own.code, Some(0), "{}", own.stderr);
    let continued = stdout.strip_prefix(prompt).unwrap_or_default();
    assert!(continued.split_whitespace().count() > 30, "{stdout}");
    assert_eq!(continued.trim_end(), own.stdout.trim_end(), "{stderr}");
}

/// A configuration file with the profiles of the workspace, which cargo reads from the outermost manifest only.
fn profiles_of_the_workspace() -> PathBuf {
    let manifest = std::fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let begin = manifest.find("[profile.dev]").unwrap();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("profiles.toml");
    std::fs::write(&file, &manifest[begin..]).unwrap();
    file
}

#[test]
fn it_needs_nothing_that_the_workspace_does_not_need() {
    // CI fetches one set of crates.
    let locked = |lock: &str| -> BTreeSet<String> {
        let text = std::fs::read_to_string(repository().join(lock)).unwrap();
        let packages = text.split("[[package]]").skip(1);
        let versions = packages.map(|package| package.lines().skip(1).take(2).collect());
        versions.collect()
    };
    let (mut outside, inside) = (locked("examples/outside/Cargo.lock"), locked("Cargo.lock"));
    assert!(
        outside.remove("name = \"outside\"version = \"0.1.0\""),
        "{outside:?}"
    );
    let more: Vec<_> = outside.difference(&inside).collect();
    assert!(more.is_empty(), "{more:?}");
}
