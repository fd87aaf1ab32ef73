//! Jobs of many peers, served round robin over the peers and over each peer's jobs.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// The line. Taking a job out takes no memory.
#[derive(Debug)]
pub(super) struct Line<P, T> {
    /// Peers with jobs, next one first; each peer once.
    turns: VecDeque<P>,
    jobs: HashMap<P, VecDeque<T>>,
    /// Queues of peers that have none now, to be used again; as many as peers were in line at once.
    spare: Vec<VecDeque<T>>,
    len: usize,
}

impl<P: Clone + Eq + Hash, T> Line<P, T> {
    /// A line with room for `peers` peers; more make it grow.
    pub(super) fn new(peers: usize) -> Self {
        Self {
            turns: VecDeque::with_capacity(peers),
            jobs: HashMap::with_capacity(peers),
            spare: Vec::with_capacity(peers),
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn of_peer(&self, peer: &P) -> usize {
        self.jobs.get(peer).map_or(0, VecDeque::len)
    }

    pub(super) fn put(&mut self, peer: P, job: T) {
        if let Some(jobs) = self.jobs.get_mut(&peer) {
            jobs.push_back(job);
        } else {
            let mut jobs = self.spare.pop().unwrap_or_default();
            jobs.push_back(job);
            self.turns.push_back(peer.clone());
            self.jobs.insert(peer, jobs);
        }
        self.len += 1;
    }

    pub(super) fn pop(&mut self) -> Option<(P, T)> {
        let peer = self.turns.pop_front()?;
        let jobs = self.jobs.get_mut(&peer)?;
        let job = jobs.pop_front()?;
        self.len -= 1;
        if jobs.is_empty() {
            self.spare.extend(self.jobs.remove(&peer));
        } else {
            self.turns.push_back(peer.clone());
        }
        Some((peer, job))
    }

    /// Drops the jobs that are not wanted.
    pub(super) fn retain(&mut self, is_wanted: impl Fn(&T) -> bool) {
        let Self {
            turns,
            jobs,
            spare,
            len,
        } = self;
        jobs.values_mut().for_each(|jobs| jobs.retain(&is_wanted));
        turns.retain(|peer| {
            let has_jobs = jobs.get(peer).is_some_and(|jobs| !jobs.is_empty());
            if !has_jobs {
                spare.extend(jobs.remove(peer));
            }
            has_jobs
        });
        *len = jobs.values().map(VecDeque::len).sum();
    }

    /// The next job that is wanted; those before it are dropped.
    pub(super) fn pop_wanted(&mut self, is_wanted: impl Fn(&T) -> bool) -> Option<(P, T)> {
        loop {
            let (peer, job) = self.pop()?;
            if is_wanted(&job) {
                return Some((peer, job));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_take_turns_whatever_their_number_of_jobs() {
        let mut line = Line::new(2);
        for job in 0..4 {
            line.put(1, job);
        }
        line.put(2, 100);
        line.put(3, 200);
        assert_eq!((line.len(), line.of_peer(&1), line.of_peer(&9)), (6, 4, 0));
        let order: Vec<i32> = std::iter::from_fn(|| line.pop())
            .map(|(_, job)| job)
            .collect();
        assert_eq!(order, [0, 100, 200, 1, 2, 3]);
        assert!(line.jobs.is_empty() && line.turns.is_empty());
        assert_eq!(line.spare.len(), 3);
    }

    #[test]
    fn what_is_not_wanted_leaves_no_trace() {
        let mut line = Line::new(2);
        for (peer, job) in [(1, 10), (2, 20), (1, 11), (3, 31)] {
            line.put(peer, job);
        }
        line.retain(|job| job % 2 == 1);
        assert_eq!((line.len(), line.of_peer(&1), line.of_peer(&2)), (2, 1, 0));
        line.put(2, 21);
        let order: Vec<i32> = std::iter::from_fn(|| line.pop())
            .map(|(_, job)| job)
            .collect();
        assert_eq!(order, [11, 31, 21]);
    }
}
