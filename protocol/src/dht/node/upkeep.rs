//! What time alone brings: overdue calls and operations, pings, refreshes, the sweep.

use super::DhtNode;
use super::operation::Goal;
use crate::dht::event::CallFailure;
use crate::dht::id::DhtId;
use crate::dht::limits::SWEEP_PERIOD;

impl DhtNode {
    pub(super) fn upkeep(&mut self, now: f64, random: &[u8; 32]) {
        for call in self.calls.overdue(now) {
            self.take_response(call, Err(CallFailure::Timeout), now);
        }
        self.end_overdue_operations(now);
        self.ping_initial_peers(now);
        self.refresh_copies(now);
        if self.next_sweep <= now {
            self.next_sweep = now + SWEEP_PERIOD.as_secs_f64();
            self.storage.sweep(now);
            self.cache.sweep(now);
            self.hand_overs.forget_old(now);
        }
        if self.next_bucket_refresh <= now {
            self.refresh_bucket(now, random);
        }
    }

    /// When something is due without any event, Unix seconds.
    pub(super) fn next_wake(&self) -> Option<f64> {
        let always = [self.next_sweep, self.next_bucket_refresh].into_iter();
        let sometimes = [
            self.calls.next_give_up(),
            self.next_deadline(),
            self.join.next_ping(),
            self.refreshes.values().copied().reduce(f64::min),
        ];
        always
            .chain(sometimes.into_iter().flatten())
            .reduce(f64::min)
    }

    /// Looks into the bucket that was quiet for longest; one at a time keeps the traffic flat.
    fn refresh_bucket(&mut self, now: f64, random: &[u8; 32]) {
        let period = self.config.bucket_refresh_period.as_secs_f64();
        self.next_bucket_refresh = now + period / BUCKETS_PER_PERIOD;
        let tail = random.first_chunk().copied().map(DhtId::from_bytes);
        let target = tail.and_then(|tail| self.table.stale_target(now - period, now, &tail));
        if let Some(target) = target.filter(|_| !self.table.is_empty()) {
            self.begin_lookup(Goal::Bucket, target, now);
        }
    }
}

/// Quiet buckets looked into per period: as many as a swarm of a thousand nodes has.
const BUCKETS_PER_PERIOD: f64 = 60.0;
