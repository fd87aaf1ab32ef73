//! Peers that did not answer, and how long lookups leave them out: 5 s, doubled with every failure in a row.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::limits::MAX_FAILED_PEERS;

/// First exclusion, seconds. Source: hivemind 1.1.12, `blacklist_time`.
const FIRST_EXCLUSION_SECONDS: f64 = 5.0;
/// Doublings stop here, at about eleven minutes: a peer may come back.
const MAX_DOUBLINGS: u32 = 7;

/// Failures in a row by peer.
#[derive(Debug, Clone, Default)]
pub struct FailedPeers {
    failures: BTreeMap<Bytes, Failures>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    in_a_row: u32,
    excluded_until: f64,
}

impl FailedPeers {
    /// Notes a failed call at `now`, Unix seconds.
    pub fn failed(&mut self, peer: &Bytes, now: f64) {
        if !self.failures.contains_key(peer) && self.failures.len() >= MAX_FAILED_PEERS {
            self.make_room(now);
        }
        let failures = self.failures.entry(peer.clone()).or_insert(Failures {
            in_a_row: 0,
            excluded_until: now,
        });
        let doublings = failures.in_a_row.min(MAX_DOUBLINGS);
        failures.excluded_until =
            now + FIRST_EXCLUSION_SECONDS * f64::from(1_u32.wrapping_shl(doublings));
        failures.in_a_row = failures.in_a_row.saturating_add(1);
    }

    /// Notes an answer: the peer is as good as new.
    pub fn answered(&mut self, peer: &Bytes) {
        self.failures.remove(peer);
    }

    /// True if lookups should leave the peer out at `now`.
    pub fn is_excluded(&self, peer: &Bytes, now: f64) -> bool {
        self.failures
            .get(peer)
            .is_some_and(|failures| failures.excluded_until > now)
    }

    fn make_room(&mut self, now: f64) {
        self.failures
            .retain(|_, failures| failures.excluded_until > now);
        if self.failures.len() >= MAX_FAILED_PEERS {
            let first_free = self
                .failures
                .iter()
                .min_by(|a, b| a.1.excluded_until.total_cmp(&b.1.excluded_until));
            if let Some(peer) = first_free.map(|(peer, _)| peer.clone()) {
                self.failures.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusion_doubles_and_an_answer_ends_it() {
        let mut failed = FailedPeers::default();
        let peer = Bytes::from_static(b"p");
        let mut now = 100.0;
        for seconds in [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 640.0] {
            failed.failed(&peer, now);
            assert!(failed.is_excluded(&peer, now + seconds - 0.1));
            now += seconds;
            assert!(!failed.is_excluded(&peer, now));
        }
        failed.failed(&peer, now);
        failed.answered(&peer);
        assert!(!failed.is_excluded(&peer, now));
    }

    #[test]
    fn memory_is_bounded() {
        let mut failed = FailedPeers::default();
        for n in 0..2 * MAX_FAILED_PEERS {
            failed.failed(&Bytes::copy_from_slice(&n.to_be_bytes()), 0.0);
        }
        assert!(failed.failures.len() <= MAX_FAILED_PEERS);
    }
}
