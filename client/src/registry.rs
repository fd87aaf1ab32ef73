//! The models that a swarm lists.

/// A model listed under `_petals.models`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredModel {
    /// Key prefix of its blocks.
    pub dht_prefix: String,
    /// Blocks of the whole model.
    pub num_blocks: usize,
    /// Where its weights are published.
    pub repository: Option<String>,
}
