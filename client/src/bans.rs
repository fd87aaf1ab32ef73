//! Servers that failed and are left out for a while. Pure: time comes in.
//!
//! | event                                  | effect                                                                  |
//! |----------------------------------------|-------------------------------------------------------------------------|
//! | failure of a server that is not banned | out for 15 s, doubled with each failure in a row, at most 5 minutes      |
//! | failure of a banned server             | none: many sessions see the same death                                   |
//! | no room                                | out for 5 s; the row of failures stays as it is                          |
//! | success of a step begun after that     | back at once, the row ends                                               |
//!
//! First ban and doubling are Petals' and hivemind's (`Blacklist`). That a ban leaves some block without any server is
//! the router's business: it takes banned servers back there.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use block_network::PeerId;

/// The bans of one view.
#[derive(Debug, Clone, Default)]
pub struct Bans(HashMap<PeerId, Ban>);

#[derive(Debug, Clone, Copy)]
struct Ban {
    /// Failures in a row.
    failures: u32,
    /// Out until then, for the failures.
    until: Instant,
    /// Out until then, for want of room.
    busy_until: Instant,
    /// When it last failed or refused.
    failed: Instant,
}

/// The first ban. Petals' figure.
const FIRST: Duration = Duration::from_secs(15);
/// No ban is longer: after five minutes a repaired server should be tried again.
const LONGEST: Duration = Duration::from_secs(300);
/// How long a server without room is left out: sessions end all the time.
const BUSY: Duration = Duration::from_secs(5);
/// A row of failures is forgotten when a ban has been over for so long.
const MEMORY: Duration = Duration::from_secs(600);
/// Servers remembered. More than that have never failed one client; beyond it the oldest ban is forgotten.
const MAX_REMEMBERED: usize = 4096;

impl Bans {
    /// The server failed.
    pub fn failed(&mut self, peer: PeerId, now: Instant) {
        let ban = self.entry(peer, now);
        if ban.until <= now {
            let doublings = ban.failures.min(16);
            ban.until = now + FIRST.saturating_mul(1 << doublings).min(LONGEST);
            ban.failures = ban.failures.saturating_add(1);
        }
        ban.failed = now;
    }

    /// The server has no room.
    pub fn busy(&mut self, peer: PeerId, now: Instant) {
        let ban = self.entry(peer, now);
        ban.busy_until = now + BUSY;
        ban.failed = now;
    }

    /// The server answered a step that was begun at `began`. What was on its way before a failure proves nothing.
    pub fn succeeded(&mut self, peer: &PeerId, began: Instant) {
        if self.0.get(peer).is_some_and(|ban| began > ban.failed) {
            self.0.remove(peer);
        }
    }

    /// Failures in a row of a server that is banned now, one at least; `None` if it is not banned.
    #[must_use]
    pub fn banned(&self, peer: &PeerId, now: Instant) -> Option<u32> {
        let ban = self.0.get(peer).filter(|ban| ban.end() > now)?;
        Some(ban.failures.max(1))
    }

    /// For how long a server is still banned.
    #[must_use]
    pub fn remaining(&self, peer: &PeerId, now: Instant) -> Option<Duration> {
        let ban = self.0.get(peer).filter(|ban| ban.end() > now)?;
        Some(ban.end() - now)
    }

    /// Servers that are banned now.
    #[must_use]
    pub fn count(&self, now: Instant) -> usize {
        self.0.values().filter(|ban| ban.end() > now).count()
    }

    /// Forgets rows of failures that are long over.
    pub fn forget_old(&mut self, now: Instant) {
        self.0.retain(|_, ban| ban.end() + MEMORY > now);
    }

    fn entry(&mut self, peer: PeerId, now: Instant) -> &mut Ban {
        if self.0.len() >= MAX_REMEMBERED && !self.0.contains_key(&peer) {
            let oldest = self.0.iter().min_by_key(|(_, ban)| ban.end());
            if let Some(oldest) = oldest.map(|(peer, _)| *peer) {
                self.0.remove(&oldest);
            }
        }
        self.0.entry(peer).or_insert(Ban {
            failures: 0,
            until: now,
            busy_until: now,
            failed: now,
        })
    }
}

impl Ban {
    fn end(&self) -> Instant {
        self.until.max(self.busy_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn bans_double_while_failures_follow_each_other() {
        let (mut bans, peer, mut now) = (Bans::default(), PeerId::random(), Instant::now());
        assert_eq!(bans.banned(&peer, now), None);
        for (row, expected) in [15, 30, 60, 120, 240, 300, 300].into_iter().enumerate() {
            bans.failed(peer, now);
            // Other sessions of the same moment.
            bans.failed(peer, now);
            assert_eq!(bans.remaining(&peer, now), Some(seconds(expected)));
            assert_eq!(bans.banned(&peer, now), Some(row as u32 + 1));
            now += seconds(expected);
            assert_eq!((bans.banned(&peer, now), bans.count(now)), (None, 0));
        }
    }

    #[test]
    fn a_success_ends_a_ban_unless_it_was_on_its_way_before() {
        let (mut bans, peer, begin) = (Bans::default(), PeerId::random(), Instant::now());
        let now = begin + seconds(10);
        bans.failed(peer, now);
        bans.succeeded(&peer, begin);
        assert_eq!(bans.banned(&peer, now), Some(1));
        bans.succeeded(&peer, now + seconds(1));
        assert_eq!(bans.banned(&peer, now + seconds(1)), None);
        bans.failed(peer, now + seconds(2));
        assert_eq!(
            bans.remaining(&peer, now + seconds(2)),
            Some(FIRST),
            "the row has ended"
        );
    }

    #[test]
    fn a_busy_server_is_left_out_briefly_and_without_doubling() {
        let (mut bans, peer, now) = (Bans::default(), PeerId::random(), Instant::now());
        for step in 0..5 {
            let now = now + seconds(step * 5);
            bans.busy(peer, now);
            assert_eq!(bans.remaining(&peer, now), Some(BUSY));
        }
        let now = now + seconds(22);
        bans.failed(peer, now);
        bans.busy(peer, now);
        assert_eq!(bans.remaining(&peer, now), Some(FIRST));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut bans, now) = (Bans::default(), Instant::now());
        for _ in 0..MAX_REMEMBERED + 10 {
            bans.failed(PeerId::random(), now);
        }
        assert_eq!(bans.count(now), MAX_REMEMBERED);
        bans.forget_old(now + LONGEST + MEMORY);
        assert!(bans.0.is_empty());
    }
}
