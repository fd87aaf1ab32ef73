//! The generic path: blocks written in differentiable tensor operations, slow and easy to check.
//!
//! In the order of one step:
//! - `span`: the span contract on top of blocks and caches
//! - `stack`: the residual stream from block to block
//! - `block`: one block; `norm`, `linear`, `attention` (with `rope`, `mask`, `kv_cache`),
//!   `mlp`: its parts
//! - `load`, `weights`: from a checkpoint's names to blocks

mod attention;
mod block;
mod kv_cache;
mod linear;
mod load;
mod mask;
mod mlp;
mod norm;
mod rope;
mod span;
mod stack;
mod weights;

pub use span::CandleSpan;

#[cfg(test)]
mod tests;
