//! Whether other machines can connect to us: asked of a few peers, logged, measured.
//!
//! Owner: the run loop. Nothing is decided by the answer; the operator reads it.

use block_network::{Dht, Node, Reachability, check_direct};
use tokio::task::JoinHandle;
use tracing::warn;

use crate::startup::{ReachLine, StartLines};

/// Owner of the asking task.
#[derive(Debug)]
pub(crate) struct Question(Option<JoinHandle<()>>);

/// Asks in the background, so that READY does not wait; does nothing unless it is `wanted`.
pub(crate) fn ask(node: &Node, dht: &Dht, wanted: bool, lines: StartLines) -> Question {
    let (node, dht) = (node.clone(), dht.clone());
    Question(wanted.then(|| {
        tokio::spawn(async move {
            let peers = dht.known_peers().await;
            if peers.is_empty() {
                // The first one on its network: there is nobody to ask.
                return;
            }
            let verdict = match check_direct(&node, &peers).await {
                Reachability::Direct => "direct: other peers can connect",
                Reachability::Unknown => "unknown: no other peer could tell",
                Reachability::Unreachable => {
                    warn!(
                        "other peers cannot connect; forward the port, or announce an address with --public-ip"
                    );
                    "unreachable: other peers cannot connect"
                }
            };
            lines.tell(&ReachLine { verdict });
        })
    }))
}

impl Drop for Question {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
