//! Where a model's files come from, and how weights are read from them.
//!
//! - `model_source`: a local directory, a GGUF file or a repository of the hub, one interface
//! - `hub`, `hub_options`, `download_progress`: fetching from the hub only the bytes that are needed
//! - `index`: which file holds which tensor
//! - `checkpoint`: the tensors of one span, out of a GGUF file or the `shards` that hold them
//! - `shard`: one safetensors file; `packed`: what its quantized tensors mean
//! - `gguf`: GGUF files
//! - `tensor_rows`: a matrix row by row, as floats or as the integers that it has
//! - `local_name`: what a model of this machine is called
//! - `span_files`: what of a span is on this machine already; `stored`: how weights are stored
//! - `mapped_file`: read-only memory maps; the crate's one use of `unsafe`

mod checkpoint;
mod download_progress;
mod gguf;
mod hub;
mod hub_options;
mod index;
mod local_name;
mod mapped_file;
mod model_source;
mod packed;
mod shard;
mod shards;
mod small_file;
mod span_files;
mod stored;
mod tensor_rows;

pub(crate) use checkpoint::Checkpoint;
pub use gguf::GgufTokenizer;
pub use hub_options::HubOptions;
pub use local_name::{is_gguf_file, local_name};
pub use model_source::ModelSource;
#[cfg(test)]
pub(crate) use packed::Packing;
pub use span_files::SpanFiles;
pub(crate) use stored::Stored;
pub use stored::StoredWeights;
pub(crate) use tensor_rows::TensorRows;
