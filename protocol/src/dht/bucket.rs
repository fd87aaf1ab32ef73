//! One bucket of the routing table: a range of identifiers and the nodes known in it, least recently heard first.

use std::collections::BTreeSet;

use super::id::DhtId;
use super::request::NodeContact;

/// Nodes whose identifiers share `depth` leading bits with `low`.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    /// Smallest identifier of the range.
    pub(super) low: DhtId,
    /// Number of leading bits that all identifiers of the range share.
    pub(super) depth: usize,
    /// Unix seconds of the last contact with any node of the range.
    pub(super) last_heard: f64,
    nodes: Vec<NodeContact>,
    replacements: Vec<NodeContact>,
    /// Nodes that were chosen for a ping because the bucket was full, until they are heard again.
    pinged: BTreeSet<DhtId>,
}

impl Bucket {
    pub(super) fn new(low: DhtId, depth: usize, now: f64) -> Self {
        Self {
            low,
            depth,
            last_heard: now,
            nodes: Vec::new(),
            replacements: Vec::new(),
            pinged: BTreeSet::new(),
        }
    }

    pub(super) fn covers(&self, id: &DhtId) -> bool {
        self.low.shares_prefix(id, self.depth)
    }

    pub(super) fn nodes(&self) -> &[NodeContact] {
        &self.nodes
    }

    pub(super) fn contains(&self, id: &DhtId) -> bool {
        self.nodes
            .iter()
            .chain(&self.replacements)
            .any(|node| node.node_id == *id)
    }

    /// Puts a node at the fresh end; false if the bucket is full, then it is among the replacements.
    pub(super) fn add_or_refresh(&mut self, node: NodeContact, size: usize, now: f64) -> bool {
        self.last_heard = now;
        self.pinged.remove(&node.node_id);
        if let Some(index) = position(&self.nodes, &node.node_id) {
            self.nodes.remove(index);
            self.nodes.push(node);
            return true;
        }
        if self.nodes.len() < size {
            self.nodes.push(node);
            return true;
        }
        if let Some(index) = position(&self.replacements, &node.node_id) {
            self.replacements.remove(index);
        }
        self.replacements.push(node);
        false
    }

    /// Drops the oldest replacement beyond `size`; the table must forget it too.
    pub(super) fn pop_excess_replacement(&mut self, size: usize) -> Option<NodeContact> {
        (self.replacements.len() > size).then(|| self.replacements.remove(0))
    }

    /// The least recently heard node that has not been chosen since it was heard last.
    pub(super) fn choose_for_ping(&mut self) -> Option<NodeContact> {
        let node = self
            .nodes
            .iter()
            .find(|node| !self.pinged.contains(&node.node_id))?
            .clone();
        self.pinged.insert(node.node_id);
        Some(node)
    }

    /// Removes a node; the freshest replacement takes its place.
    pub(super) fn remove(&mut self, id: &DhtId) {
        self.pinged.remove(id);
        if let Some(index) = position(&self.replacements, id) {
            self.replacements.remove(index);
        }
        if let Some(index) = position(&self.nodes, id) {
            self.nodes.remove(index);
            self.nodes.extend(self.replacements.pop());
        }
    }

    /// The lower and the upper half of this bucket.
    pub(super) fn split(self, size: usize) -> (Self, Self) {
        let depth = self.depth.saturating_add(1);
        let mut lower = Self::new(self.low, depth, self.last_heard);
        let mut upper = Self::new(self.low.with_bit(self.depth), depth, self.last_heard);
        for node in self.nodes.into_iter().chain(self.replacements) {
            let half = if upper.covers(&node.node_id) {
                &mut upper
            } else {
                &mut lower
            };
            let was_pinged = self.pinged.contains(&node.node_id);
            let id = node.node_id;
            half.add_or_refresh(node, size, self.last_heard);
            if was_pinged {
                half.pinged.insert(id);
            }
        }
        (lower, upper)
    }
}

fn position(nodes: &[NodeContact], id: &DhtId) -> Option<usize> {
    nodes.iter().position(|node| node.node_id == *id)
}
