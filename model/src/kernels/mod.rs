//! Arithmetic on plain memory, written for the processor: the only `unsafe` code for speed.
//!
//! What holds in every kernel: one number's reduction order is fixed by its own row, so an output is the same to the
//! last bit alone and in a batch, on one thread and on many. Levels may differ from each other in the last bits.
//!
//! In reading order:
//! - `level`: which instructions are used; `amx_state`: whether the system lets them; `pool`: the threads; `arena`, `disjoint`: memory
//! - `format`, `packed`, `column`: weights as panels of [`PANEL`](format::PANEL) outputs
//! - `quantize`, `quantized_row`: weights as small integers, made here or read from a file
//! - `activations`: the other operand, in tiles of some rows
//! - `product`: rows times panels; `tile` has the inner loops, one file for each level
//! - `attention`: over the paged KV cache
//! - `sinks`: what becomes of a product; `norm`, `activation`: the small operations between products; `rounding`
//! - `peak`: what the processor could do at best, for benchmarks

pub(crate) mod activation;
pub(crate) mod activations;
#[cfg(target_arch = "x86_64")]
mod amx_state;
pub(crate) mod arena;
pub(crate) mod attention;
mod column;
pub(crate) mod disjoint;
pub(crate) mod format;
pub(crate) mod level;
pub(crate) mod leveled;
pub(crate) mod norm;
pub(crate) mod packed;
pub(crate) mod peak;
pub(crate) mod pool;
pub(crate) mod product;
pub(crate) mod quantize;
pub(crate) mod quantized_row;
pub(crate) mod rounding;
pub(crate) mod sinks;
mod tile;
