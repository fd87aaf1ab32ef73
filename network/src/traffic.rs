//! Bytes on substreams, by the family of their protocol.

use std::fmt;

use metrics::Counter;

/// Counts one substream. What came before its name was known is added once it is.
#[derive(Default)]
pub(crate) struct Traffic {
    counters: Option<(Counter, Counter)>,
    unclassified_received: u64,
    unclassified_sent: u64,
}

impl Traffic {
    /// Files the substream under the family of `name`, as it is on the wire.
    pub(crate) fn classify(&mut self, name: &str) {
        let family = family(name);
        let received = metrics::counter!("swarm_p2p_received_bytes_total", "protocol" => family);
        let sent = metrics::counter!("swarm_p2p_sent_bytes_total", "protocol" => family);
        received.increment(std::mem::take(&mut self.unclassified_received));
        sent.increment(std::mem::take(&mut self.unclassified_sent));
        self.counters = Some((received, sent));
    }

    pub(crate) fn received(&mut self, bytes: usize) {
        match &self.counters {
            Some((received, _)) => received.increment(bytes as u64),
            None => self.unclassified_received += bytes as u64,
        }
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        match &self.counters {
            Some((_, sent)) => sent.increment(bytes as u64),
            None => self.unclassified_sent += bytes as u64,
        }
    }
}

impl fmt::Debug for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traffic").finish_non_exhaustive()
    }
}

/// The label values of the byte counters.
fn family(name: &str) -> &'static str {
    if name.starts_with("DHTProtocol.") {
        "dht"
    } else if name.starts_with("/libp2p/circuit/") {
        "relay"
    } else if name.starts_with('/') || name.starts_with("ReachabilityProtocol.") {
        "other"
    } else {
        "handler"
    }
}
