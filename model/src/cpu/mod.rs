//! Blocks on the processor, with kernels of our own.
//!
//! In reading order:
//! - `kv_pool`: pages of the KV cache, within a budget
//! - `kv_table`: the cache of one batch row in one block

pub(crate) mod kv_pool;
pub(crate) mod kv_table;
#[cfg(test)]
mod kv_tests;
