//! What unfinished requests may cost us: streams and buffered bytes, for each peer and in total.
//!
//! A stream is *half-open* from the moment its name is agreed on until a handler has taken its
//! first whole request.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use libp2p::PeerId;

use crate::limits::{
    FREE_RECEIVE_BYTES, MAX_HALF_OPEN, MAX_HALF_OPEN_PER_PEER, MAX_RECEIVE_BYTES,
    MAX_RECEIVE_BYTES_PER_PEER,
};

/// Shared by all inbound streams of a node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Admission(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    total: Load,
    /// Only peers that cost something now.
    peers: HashMap<PeerId, Load>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Load {
    streams: usize,
    bytes: usize,
}

/// The right to be one half-open stream; dropped when a handler has the request.
#[derive(Debug)]
pub(crate) struct HalfOpen {
    admission: Admission,
    peer: PeerId,
}

/// One stream's share of the bytes that its peer may have buffered here.
#[derive(Debug)]
pub(crate) struct Share {
    admission: Admission,
    peer: PeerId,
    bytes: usize,
}

impl Admission {
    /// `None` if this peer, or all of them together, have too many half-open streams.
    pub(crate) fn admit(&self, peer: PeerId) -> Option<HalfOpen> {
        let mut state = self.lock();
        let load = state.peers.get(&peer).copied().unwrap_or_default();
        if load.streams >= MAX_HALF_OPEN_PER_PEER || state.total.streams >= MAX_HALF_OPEN {
            return None;
        }
        state.change(peer, |load| load.streams += 1);
        Some(HalfOpen {
            admission: self.clone(),
            peer,
        })
    }

    /// An empty share.
    pub(crate) fn share(&self, peer: PeerId) -> Share {
        Share {
            admission: self.clone(),
            peer,
            bytes: 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn change(&mut self, peer: PeerId, change: impl Fn(&mut Load)) {
        change(&mut self.total);
        let load = self.peers.entry(peer).or_default();
        change(load);
        if *load == Load::default() {
            self.peers.remove(&peer);
        }
    }
}

impl Share {
    /// Makes the share fit a buffer of `buffered` bytes; `false` if that would be too much.
    pub(crate) fn cover(&mut self, buffered: usize) -> bool {
        let wanted = buffered.saturating_sub(FREE_RECEIVE_BYTES);
        if wanted == self.bytes {
            return true;
        }
        let mut state = self.admission.lock();
        let load = state.peers.get(&self.peer).copied().unwrap_or_default();
        let over = |held: usize, limit: usize| held - self.bytes + wanted > limit;
        if wanted > self.bytes
            && (over(load.bytes, MAX_RECEIVE_BYTES_PER_PEER)
                || over(state.total.bytes, MAX_RECEIVE_BYTES))
        {
            return false;
        }
        let before = self.bytes;
        state.change(self.peer, |load| load.bytes = load.bytes - before + wanted);
        self.bytes = wanted;
        true
    }
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        state.change(self.peer, |load| load.streams -= 1);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        let bytes = self.bytes;
        state.change(self.peer, |load| load.bytes -= bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_open_streams_are_counted_by_peer_and_given_back() {
        let admission = Admission::default();
        let (one, other) = (PeerId::random(), PeerId::random());
        let held: Vec<_> = std::iter::from_fn(|| admission.admit(one)).collect();
        assert_eq!(held.len(), MAX_HALF_OPEN_PER_PEER);
        assert!(admission.admit(other).is_some());
        drop(held);
        assert!(admission.admit(one).is_some());
        assert!(admission.lock().peers.is_empty());
    }

    #[test]
    fn buffered_bytes_are_bounded_by_peer_and_in_total() {
        let admission = Admission::default();
        let peers: Vec<_> = (0..MAX_RECEIVE_BYTES / MAX_RECEIVE_BYTES_PER_PEER + 1)
            .map(|_| PeerId::random())
            .collect();
        let mut shares: Vec<_> = peers.iter().map(|peer| admission.share(*peer)).collect();
        let full = MAX_RECEIVE_BYTES_PER_PEER + FREE_RECEIVE_BYTES;
        assert!(!shares[0].cover(full + 1));
        let covered = shares
            .iter_mut()
            .filter_map(|share| share.cover(full).then_some(()))
            .count();
        assert_eq!(covered, MAX_RECEIVE_BYTES / MAX_RECEIVE_BYTES_PER_PEER);
        assert!(!admission.share(peers[0]).cover(FREE_RECEIVE_BYTES + 1));
        assert!(shares[0].cover(0));
        assert!(admission.share(peers[0]).cover(full));
        drop(shares);
        assert!(admission.lock().peers.is_empty());
    }
}
