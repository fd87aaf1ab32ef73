//! Child processes of a test run, from the outside in: `janitor` ends them, `child` starts them,
//! `python_peer` and `block_server` speak to them. `rust_node` is no child: a DHT node of ours in this process.

mod block_server;
mod child;
mod janitor;
mod python_peer;
mod rust_node;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use block_server::{BlockServer, Contact, Span};
pub(crate) use python_peer::{PythonPeer, Role};
pub(crate) use rust_node::RustNode;

/// How long any one thing may take before a test gives up on it. Nothing here needs more than 20 s
/// on an idle machine; two busy cores that import torch for seven processes at once do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// The checked-out repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A path inside this run's folder for files that nobody keeps: models made here, identities, logs.
pub(crate) fn temporary(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop");
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}
