//! Sets of bytes of one file, and the requests that fetch one.

use std::ops::Range;

/// A set of byte offsets, as few ranges as possible.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RangeSet {
    /// In order, none empty, none touching another.
    ranges: Vec<Range<u64>>,
}

impl RangeSet {
    /// Adds the bytes of `range`.
    pub(super) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let first = self.ranges.partition_point(|known| known.end < range.start);
        let last = self
            .ranges
            .partition_point(|known| known.start <= range.end);
        let merged = match self.ranges.get(first..last) {
            Some([head, .., tail]) => head.start.min(range.start)..tail.end.max(range.end),
            Some([only]) => only.start.min(range.start)..only.end.max(range.end),
            _ => range,
        };
        self.ranges.splice(first..last, [merged]);
    }

    /// Whether every byte of `other` is in the set.
    pub(super) fn covers(&self, other: &Self) -> bool {
        other.without(self).ranges.is_empty()
    }

    /// Whether some byte of `range` is in the set.
    fn touches(&self, range: &Range<u64>) -> bool {
        let next = self
            .ranges
            .partition_point(|known| known.end <= range.start);
        self.ranges
            .get(next)
            .is_some_and(|known| known.start < range.end)
    }

    /// The bytes that are not in `other`.
    pub(super) fn without(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        for range in &self.ranges {
            let mut start = range.start;
            let next = other.ranges.partition_point(|known| known.end <= start);
            for known in other.ranges.iter().skip(next) {
                if known.start >= range.end {
                    break;
                }
                if start < known.start {
                    left.push(start..known.start);
                }
                start = known.end;
            }
            if start < range.end {
                left.push(start..range.end);
            }
        }
        Self { ranges: left }
    }

    /// How many bytes are in the set.
    pub(super) fn bytes(&self) -> u64 {
        self.ranges
            .iter()
            .map(|range| range.end - range.start)
            .sum()
    }

    /// How many bytes from offset 0 on are in the set.
    pub(super) fn start_bytes(&self) -> u64 {
        let first = self.ranges.first().filter(|range| range.start == 0);
        first.map_or(0, |range| range.end)
    }

    /// Requests that fetch the set, each of at most `longest` bytes. Over a small gap one request is
    /// cheaper than two, so its bytes are fetched too, unless some of them are in `complete`: those
    /// may be in use and are never written again.
    pub(super) fn requests(&self, complete: &Self, longest: u64) -> Vec<Range<u64>> {
        let mut joined: Vec<Range<u64>> = Vec::new();
        let mut gaps_bytes = 0;
        for range in &self.ranges {
            if let Some(last) = joined.last_mut() {
                let gap = last.end..range.start;
                let gap_bytes = gap.end - gap.start;
                let wanted_bytes = range.end - last.start - gap_bytes - gaps_bytes;
                let is_cheap = gap_bytes <= JOINED_GAP_BYTES
                    && gaps_bytes + gap_bytes <= wanted_bytes / JOINED_GAPS_SHARE;
                if is_cheap && !complete.touches(&gap) {
                    last.end = range.end;
                    gaps_bytes += gap_bytes;
                    continue;
                }
            }
            joined.push(range.clone());
            gaps_bytes = 0;
        }
        let split = |range: Range<u64>| {
            let starts = range.clone().step_by(step(longest));
            starts.map(move |start| start..range.end.min(start.saturating_add(longest)))
        };
        joined.into_iter().flat_map(split).collect()
    }
}

impl From<Range<u64>> for RangeSet {
    fn from(range: Range<u64>) -> Self {
        Self::from_iter([range])
    }
}

impl FromIterator<Range<u64>> for RangeSet {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Self {
        let mut set = Self::default();
        for range in ranges {
            set.insert(range);
        }
        set
    }
}

fn step(longest: u64) -> usize {
    usize::try_from(longest).unwrap_or(usize::MAX).max(1)
}

/// A request costs two round trips, a tenth of a second or two: what a link of 20 Mbit/s carries in
/// that time may be fetched in vain.
const JOINED_GAP_BYTES: u64 = 256 * 1024;

/// The gaps of a request may be this fraction of what it is for, so that less than a hundredth of a
/// download is not wanted.
const JOINED_GAPS_SHARE: u64 = 128;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ops::Range;

    use proptest::prelude::*;

    use super::RangeSet;

    const MANY: u64 = 1 << 40;

    fn set(ranges: &[Range<u64>]) -> RangeSet {
        ranges.iter().cloned().collect()
    }

    fn bytes(set: &RangeSet) -> BTreeSet<u64> {
        set.ranges.iter().cloned().flatten().collect()
    }

    fn any_set() -> impl Strategy<Value = RangeSet> {
        let range = (0u64..64, 0u64..16).prop_map(|(start, length)| start..start + length);
        proptest::collection::vec(range, 0..8).prop_map(|ranges| ranges.into_iter().collect())
    }

    proptest! {
        #[test]
        fn sets_of_ranges_are_sets_of_bytes(one in any_set(), other in any_set()) {
            let left: BTreeSet<_> = bytes(&one).difference(&bytes(&other)).copied().collect();
            prop_assert_eq!(bytes(&one.without(&other)), left.clone());
            prop_assert_eq!(one.covers(&other), bytes(&other).is_subset(&bytes(&one)));
            prop_assert_eq!(one.bytes(), bytes(&one).len() as u64);
            let ordered = one.ranges.windows(2).all(|pair| pair[0].end < pair[1].start);
            prop_assert!(ordered && one.ranges.iter().all(|range| range.start < range.end));
        }

        #[test]
        fn requests_fetch_the_set_and_nothing_complete(
            wanted in any_set(), complete in any_set(), longest in 1u64..20,
        ) {
            let missing = wanted.without(&complete);
            let requests = missing.requests(&complete, longest);
            prop_assert!(requests.iter().all(|request| request.end - request.start <= longest));
            let total: u64 = requests.iter().map(|request| request.end - request.start).sum();
            let fetched = set(&requests);
            prop_assert_eq!(fetched.bytes(), total);
            prop_assert!(fetched.covers(&missing));
            prop_assert!(bytes(&fetched).is_disjoint(&bytes(&complete)));
        }
    }

    #[test]
    fn ranges_that_touch_become_one() {
        let mut ranges = set(&[0..4, 8..12]);
        ranges.insert(4..8);
        assert_eq!(ranges, RangeSet::from(0..12));
        assert_eq!(set(&[0..4, 3..9]), RangeSet::from(0..9));
    }

    #[test]
    fn small_gaps_are_fetched_and_large_ones_are_not() {
        let nothing = RangeSet::default();
        let neighbours = set(&[0..1_000_000, 1_010_000..2_000_000]);
        let joined = 0..2_000_000;
        assert_eq!(neighbours.requests(&nothing, MANY), [joined]);
        let in_the_gap = RangeSet::from(1_000_100..1_000_200);
        assert_eq!(neighbours.requests(&in_the_gap, MANY).len(), 2);
        let too_far_for_their_size = set(&[0..1000, 2000..3000]);
        assert_eq!(too_far_for_their_size.requests(&nothing, MANY).len(), 2);
        let too_far_at_all = set(&[0..1 << 30, (1 << 30) + (1 << 20)..1 << 31]);
        assert_eq!(too_far_at_all.requests(&nothing, MANY).len(), 2);
    }

    #[test]
    fn gaps_stay_below_a_hundredth_of_what_is_wanted() {
        for piece in [40_000, 1_000_000, 10] {
            let wanted: RangeSet = std::iter::once(0..10_000_000)
                .chain((0..1000).map(|number| {
                    let start = 10_000_300 + number * (piece + 300);
                    start..start + piece
                }))
                .collect();
            let requests = wanted.requests(&RangeSet::default(), MANY);
            let fetched: u64 = requests
                .iter()
                .map(|request| request.end - request.start)
                .sum();
            assert!(fetched * 100 <= wanted.bytes() * 101, "{piece}");
            assert_eq!(requests.len() < 10, piece > 10, "{piece}");
        }
    }
}
