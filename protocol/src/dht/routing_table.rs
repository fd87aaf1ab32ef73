//! Who is where: buckets of nodes that split where it matters.
//!
//! - a full bucket splits if it holds our own id, or if its depth is no multiple of 5; otherwise the newcomer waits as
//!   a replacement and the least recently heard node is to be pinged
//! - one failed call removes a node; the freshest replacement takes its place
//! - one peer has one node id: a new id replaces the old one, so that a peer cannot fill the table alone;
//!   a node id belongs to the first peer that used it until that one fails
//!
//! Source: hivemind 1.1.12, `dht/routing.py`; the last rule is ours.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::bucket::Bucket;
use super::id::{DhtId, Distance};
use super::limits::MAX_TABLE_NODES;
use super::request::NodeContact;

/// Buckets at a depth that is a multiple of this split only around our own id.
const DEPTH_MODULO: usize = 5;
/// Bits of an identifier: the depth at which a bucket holds one.
const MAX_DEPTH: usize = 160;

/// What became of a node that was offered to the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Added {
    /// It was there already.
    Known,
    /// It is in a bucket or among the replacements now.
    New,
    /// Not taken: our own id, another peer's id, or the table is full.
    Refused,
}

/// Nodes by range of identifiers.
#[derive(Debug, Clone)]
pub struct RoutingTable {
    own_id: DhtId,
    bucket_size: usize,
    /// Ordered by `low`; together they cover all identifiers.
    buckets: Vec<Bucket>,
    by_peer: BTreeMap<Bytes, DhtId>,
}

impl RoutingTable {
    /// An empty table of the node `own_id` whose buckets hold `bucket_size` nodes.
    pub fn new(own_id: DhtId, bucket_size: usize, now: f64) -> Self {
        let everything = Bucket::new(DhtId::from_bytes([0; 20]), 0, now);
        Self {
            own_id,
            bucket_size,
            buckets: vec![everything],
            by_peer: BTreeMap::new(),
        }
    }

    /// Notes that a node was heard at `now`; also names a node that should be pinged because its bucket is full.
    pub fn add_or_refresh(&mut self, node: NodeContact, now: f64) -> (Added, Option<NodeContact>) {
        let (known_id, id) = (self.by_peer.get(&node.peer).copied(), node.node_id);
        if id == self.own_id {
            return (Added::Refused, None);
        }
        if known_id != Some(id) {
            let is_taken = self.bucket(&id).is_some_and(|bucket| bucket.contains(&id));
            if is_taken || (known_id.is_none() && self.by_peer.len() >= MAX_TABLE_NODES) {
                return (Added::Refused, None);
            }
            self.remove_peer(&node.peer);
            self.by_peer.insert(node.peer.clone(), id);
        }
        let ping = self.place(node, now);
        (
            if known_id == Some(id) {
                Added::Known
            } else {
                Added::New
            },
            ping,
        )
    }

    /// Forgets a peer; true if it was known.
    pub fn remove_peer(&mut self, peer: &Bytes) -> bool {
        let Some(id) = self.by_peer.remove(peer) else {
            return false;
        };
        if let Some(bucket) = self.bucket_mut(&id) {
            bucket.remove(&id);
        }
        true
    }

    /// The node id of a peer.
    pub fn id_of(&self, peer: &Bytes) -> Option<DhtId> {
        self.by_peer.get(peer).copied()
    }

    /// Up to `count` nodes in buckets nearest to `key`, nearest first, without `exclude`.
    pub fn nearest(&self, key: &DhtId, count: usize, exclude: Option<DhtId>) -> Vec<NodeContact> {
        let mut found: Vec<(Distance, &NodeContact)> = self
            .nodes()
            .filter(|node| Some(node.node_id) != exclude)
            .map(|node| (key.distance(&node.node_id), node))
            .collect();
        if found.len() > count && count > 0 {
            found.select_nth_unstable_by_key(count.saturating_sub(1), |(distance, _)| *distance);
        }
        found.truncate(count);
        found.sort_unstable_by_key(|(distance, _)| *distance);
        found.into_iter().map(|(_, node)| node.clone()).collect()
    }

    /// Nodes in buckets, without replacements.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeContact> {
        self.buckets.iter().flat_map(Bucket::nodes)
    }

    /// Number of nodes in buckets, without replacements.
    pub fn len(&self) -> usize {
        self.buckets.iter().map(|bucket| bucket.nodes().len()).sum()
    }

    /// True if no node is known.
    pub fn is_empty(&self) -> bool {
        self.by_peer.is_empty()
    }

    /// Number of buckets.
    pub fn bucket_count(&self) -> usize {
        self.buckets.len()
    }

    /// A random id (`tail` supplies the bits) in a bucket that nobody was heard in since `before`; marks it as heard.
    pub fn stale_target(&mut self, before: f64, now: f64, tail: &DhtId) -> Option<DhtId> {
        let oldest = self
            .buckets
            .iter_mut()
            .min_by(|a, b| a.last_heard.total_cmp(&b.last_heard))?;
        if oldest.last_heard >= before {
            return None;
        }
        oldest.last_heard = now;
        Some(oldest.low.with_tail(oldest.depth, tail))
    }

    fn place(&mut self, node: NodeContact, now: f64) -> Option<NodeContact> {
        // Each round deepens the bucket by one bit, so the loop ends.
        loop {
            let (own_id, bucket_size) = (self.own_id, self.bucket_size);
            let index = self.bucket_index(&node.node_id)?;
            let bucket = self.buckets.get_mut(index)?;
            if bucket.add_or_refresh(node.clone(), bucket_size, now) {
                return None;
            }
            let splits =
                bucket.covers(&own_id) || bucket.depth.checked_rem(DEPTH_MODULO) != Some(0);
            if !splits || bucket.depth >= MAX_DEPTH {
                let ping = bucket.choose_for_ping();
                if let Some(dropped) = bucket.pop_excess_replacement(bucket_size) {
                    self.by_peer.remove(&dropped.peer);
                }
                return ping;
            }
            bucket.remove(&node.node_id);
            let (lower, upper) = self.buckets.remove(index).split(bucket_size);
            self.buckets.splice(index..index, [lower, upper]);
        }
    }

    fn bucket_index(&self, id: &DhtId) -> Option<usize> {
        self.buckets
            .partition_point(|bucket| bucket.low <= *id)
            .checked_sub(1)
    }

    fn bucket(&self, id: &DhtId) -> Option<&Bucket> {
        self.buckets.get(self.bucket_index(id)?)
    }

    fn bucket_mut(&mut self, id: &DhtId) -> Option<&mut Bucket> {
        let index = self.bucket_index(id)?;
        self.buckets.get_mut(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u32) -> NodeContact {
        NodeContact {
            node_id: DhtId::of_raw(&n.to_be_bytes()),
            peer: Bytes::copy_from_slice(&n.to_be_bytes()),
        }
    }

    fn own() -> DhtId {
        DhtId::from_bytes([0; 20])
    }

    fn filled(count: u32) -> RoutingTable {
        let mut table = RoutingTable::new(own(), 20, 0.0);
        for n in 0..count {
            table.add_or_refresh(node(n), f64::from(n));
        }
        table
    }

    #[test]
    fn twenty_nodes_share_one_bucket_and_more_split_it() {
        assert_eq!(filled(20).bucket_count(), 1);
        let table = filled(400);
        assert!(table.bucket_count() > 16);
        assert!(
            table
                .buckets
                .windows(2)
                .all(|pair| pair[0].low < pair[1].low)
        );
        for bucket in &table.buckets {
            assert!(bucket.nodes().len() <= 20);
            assert!(
                bucket
                    .nodes()
                    .iter()
                    .all(|node| bucket.covers(&node.node_id))
            );
            // Away from our own id no bucket is deeper than the next multiple of five.
            assert!(
                bucket.depth <= 5
                    || bucket
                        .low
                        .shares_prefix(&own(), bucket.depth.saturating_sub(5))
            );
        }
    }

    #[test]
    fn nearest_is_exact() {
        let table = filled(300);
        for n in 0..50_u32 {
            let key = DhtId::of_raw(format!("key {n}").as_bytes());
            let mut expected: Vec<_> = table.nodes().cloned().collect();
            expected.sort_by_key(|node| key.distance(&node.node_id));
            let excluded = expected.remove(0).node_id;
            expected.truncate(20);
            assert_eq!(table.nearest(&key, 20, Some(excluded)), expected);
        }
        assert!(table.nearest(&own(), 0, None).is_empty());
    }

    /// Nodes that all fall into the far half, at a depth where the bucket does not split: the first five bits are fixed.
    fn crowd(count: usize) -> Vec<NodeContact> {
        let fits = |node: &NodeContact| node.node_id.as_bytes()[0] >> 3 == 0b11111;
        (0..).map(node).filter(fits).take(count).collect()
    }

    #[test]
    fn a_full_bucket_asks_for_its_least_recently_heard_node_once() {
        let mut table = RoutingTable::new(own(), 20, 0.0);
        let crowd = crowd(23);
        for node in &crowd[..20] {
            assert_eq!(table.add_or_refresh(node.clone(), 1.0), (Added::New, None));
        }
        table.add_or_refresh(crowd[0].clone(), 2.0); // now the freshest
        assert_eq!(
            table.add_or_refresh(crowd[20].clone(), 3.0),
            (Added::New, Some(crowd[1].clone()))
        );
        assert_eq!(
            table.add_or_refresh(crowd[21].clone(), 3.0),
            (Added::New, Some(crowd[2].clone()))
        );
        assert_eq!(table.len(), 20);
        assert!(table.remove_peer(&crowd[1].peer));
        assert_eq!(table.len(), 20, "a replacement took the place");
        assert!(
            table.nodes().any(|node| *node == crowd[21]),
            "the freshest one"
        );
        assert!(!table.remove_peer(&crowd[1].peer));
    }

    #[test]
    fn replacements_are_bounded() {
        let mut table = RoutingTable::new(own(), 20, 0.0);
        for node in crowd(200) {
            table.add_or_refresh(node, 1.0);
        }
        assert_eq!(table.by_peer.len(), 40);
    }

    #[test]
    fn a_peer_has_one_id_and_an_id_one_peer() {
        let mut table = RoutingTable::new(own(), 20, 0.0);
        let first = node(1);
        let moved = NodeContact {
            node_id: node(2).node_id,
            peer: first.peer.clone(),
        };
        let thief = NodeContact {
            node_id: node(2).node_id,
            peer: node(3).peer,
        };
        assert_eq!(table.add_or_refresh(first.clone(), 0.0).0, Added::New);
        assert_eq!(table.add_or_refresh(first, 0.0).0, Added::Known);
        assert_eq!(table.add_or_refresh(moved.clone(), 0.0).0, Added::New);
        assert_eq!(table.add_or_refresh(thief, 0.0).0, Added::Refused);
        assert_eq!(table.nodes().collect::<Vec<_>>(), [&moved]);
        let own_node = NodeContact {
            node_id: own(),
            peer: node(4).peer,
        };
        assert_eq!(table.add_or_refresh(own_node, 0.0).0, Added::Refused);
    }

    #[test]
    fn a_quiet_bucket_is_named_once_per_period() {
        let mut table = filled(100);
        let target = table
            .stale_target(1000.0, 1000.0, &node(9).node_id)
            .unwrap();
        let bucket = table.bucket(&target).unwrap();
        assert_eq!(bucket.last_heard, 1000.0);
        for _ in 0..table.bucket_count() {
            table.stale_target(1000.0, 1000.0, &own());
        }
        assert_eq!(table.stale_target(1000.0, 1000.0, &own()), None);
    }
}
