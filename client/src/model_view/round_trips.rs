//! Smoothed pings. Pure: time comes in.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use block_network::PeerId;

/// Round trips in seconds; infinite for a server that did not answer.
#[derive(Debug, Clone, Default)]
pub(super) struct RoundTrips(HashMap<PeerId, (f64, Instant)>);

/// Weight of the newest ping. Petals' figure.
const SMOOTHING: f64 = 0.2;
/// Pings are forgotten after this. Petals' figure.
const LIFE: Duration = Duration::from_secs(300);

impl RoundTrips {
    /// Notes a ping; `None` if there was no answer. Silence replaces a time, and a time replaces silence, at once.
    pub(super) fn record(&mut self, peer: PeerId, answer: Option<Duration>, now: Instant) {
        let newest = answer.map_or(f64::INFINITY, |time| time.as_secs_f64());
        let known = self.seconds(&peer, now).filter(|known| known.is_finite());
        let smoothed = match known {
            Some(known) if newest.is_finite() => known + SMOOTHING * (newest - known),
            Some(_) | None => newest,
        };
        self.0.insert(peer, (smoothed, now));
    }

    /// What the pings of the last minutes say; infinite if the last one was not answered.
    pub(super) fn seconds(&self, peer: &PeerId, now: Instant) -> Option<f64> {
        let (seconds, measured) = self.0.get(peer)?;
        let is_fresh = now.saturating_duration_since(*measured) < LIFE;
        is_fresh.then_some(*seconds)
    }

    /// The same as a time; `None` also for a server that does not answer.
    pub(super) fn time(&self, peer: &PeerId, now: Instant) -> Option<Duration> {
        let seconds = self.seconds(peer, now)?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// When a server was pinged last.
    pub(super) fn asked(&self, peer: &PeerId) -> Option<Instant> {
        self.0.get(peer).map(|(_, asked)| *asked)
    }

    /// Forgets old pings.
    pub(super) fn forget_old(&mut self, now: Instant) {
        self.0
            .retain(|_, (_, measured)| now.saturating_duration_since(*measured) < LIFE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_are_smoothed_and_forgotten_and_silence_counts_at_once() {
        let (mut trips, peer, now) = (RoundTrips::default(), PeerId::random(), Instant::now());
        let second = Some(Duration::from_secs(1));
        trips.record(peer, second, now);
        trips.record(peer, Some(Duration::from_secs(2)), now);
        assert!((trips.seconds(&peer, now).unwrap() - 1.2).abs() < 1e-9);
        trips.record(peer, None, now);
        assert_eq!(trips.seconds(&peer, now), Some(f64::INFINITY));
        assert_eq!(trips.time(&peer, now), None);
        trips.record(peer, second, now);
        assert_eq!(trips.time(&peer, now), second);
        assert_eq!(trips.seconds(&peer, now + LIFE), None);
        trips.forget_old(now + LIFE);
        assert_eq!(trips.asked(&peer), None);
    }
}
