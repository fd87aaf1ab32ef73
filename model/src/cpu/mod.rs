//! The blocks on processors: packed weights, a paged KV cache, all sessions of a turn as one batch.
//!
//! In the order of one step:
//! - `span`: the span contract; `cache`: what a session holds of it
//! - `batch`: the tokens of all rows as one matrix, and which of them a block works on
//! - `block`: one block; `attention` with `rotary`, `mlp`, `mixture`: its halves
//! - `kv_table`, `kv_pool`: pages of keys and values
//! - `load`, `packing`, `weights`, `options`: from a checkpoint to packed weights; `memory`: how large they will be

mod attention;
mod batch;
mod block;
mod cache;
mod kv_pool;
mod kv_table;
#[cfg(test)]
mod kv_tests;
mod load;
mod memory;
mod mixture;
mod mlp;
mod options;
mod packing;
mod rotary;
mod span;
mod weights;

pub(crate) use load::load_norm;
pub use memory::CpuMemory;
pub use options::CpuOptions;
pub use span::CpuSpan;
pub(crate) use weights::Norm;
