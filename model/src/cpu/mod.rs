//! The blocks on processors: packed weights, a paged KV cache, all sessions of a turn as one batch.
//!
//! In the order of one step:
//! - `span`: the span contract; `cache`: what a session holds of it
//! - `batch`: the tokens of all rows as one matrix, and which of them a block works on
//! - `block`: one block; `rotary`: positions
//! - `kv_table`, `kv_pool`: pages of keys and values
//! - `load`, `weights`, `options`: from a checkpoint to packed weights

mod batch;
mod block;
mod cache;
mod kv_pool;
mod kv_table;
#[cfg(test)]
mod kv_tests;
mod load;
mod options;
mod rotary;
mod span;
mod weights;

pub use options::CpuOptions;
pub use span::CpuSpan;
