//! The dependency graph as `cargo metadata` resolves it for the target that tests run on.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::LazyLock;

use serde::Deserialize;

pub(crate) static METADATA: LazyLock<Metadata> = LazyLock::new(read);

#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) workspace_members: BTreeSet<String>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    /// SPDX, or the older form with slashes.
    pub(crate) license: Option<String>,
    /// None for a path.
    pub(crate) source: Option<String>,
    pub(crate) dependencies: Vec<Dependency>,
}

/// A dependency as the manifest declares it.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// None for a normal dependency, else "dev" or "build".
    pub(crate) kind: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Debug, Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Debug, Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

impl Metadata {
    pub(crate) fn member(&self, name: &str) -> &Package {
        self.packages
            .iter()
            .find(|package| package.name == name && self.workspace_members.contains(&package.id))
            .unwrap_or_else(|| panic!("no crate {name} in the workspace"))
    }

    /// Names of everything that is compiled into `member`, itself included; dev and build dependencies are not.
    pub(crate) fn normal_tree(&self, member: &str) -> BTreeSet<&str> {
        let names: BTreeMap<&str, &str> = self
            .packages
            .iter()
            .map(|package| (package.id.as_str(), package.name.as_str()))
            .collect();
        let nodes: BTreeMap<&str, &Node> = self
            .resolve
            .nodes
            .iter()
            .map(|node| (node.id.as_str(), node))
            .collect();
        let mut open = vec![self.member(member).id.as_str()];
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                let normal = |edge: &&Edge| edge.dep_kinds.iter().any(|kind| kind.kind.is_none());
                open.extend(
                    nodes[id]
                        .deps
                        .iter()
                        .filter(normal)
                        .map(|edge| edge.pkg.as_str()),
                );
            }
        }
        seen.into_iter().map(|id| names[id]).collect()
    }
}

/// Names of everything that `member` compiles in when nothing else of the workspace switches features on.
pub(crate) fn compiled_alone(member: &str) -> BTreeSet<String> {
    let tree = cargo(&[
        "tree",
        "--package",
        member,
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--target",
        TARGET,
    ]);
    tree.lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

fn read() -> Metadata {
    serde_json::from_str(&cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--filter-platform",
        TARGET,
    ]))
    .unwrap()
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The lists of this test were made for one target; other targets add their own system crates.
const TARGET: &str = "x86_64-unknown-linux-gnu";
