//! Where a model's files come from, and how weights are read from them.
//!
//! - `model_source`: a local directory or a repository of the hub, one interface
//! - `hub`, `hub_options`, `download_progress`: fetching from the hub only the bytes that are needed
//! - `index`: which file holds which tensor
//! - `checkpoint`: the tensors of one span, out of one or several `shard`s
//! - `local_name`: what a model of this machine is called
//! - `span_files`: what of a span is on this machine already
//! - `mapped_file`: read-only memory maps; the crate's one use of `unsafe`

mod checkpoint;
mod download_progress;
mod hub;
mod hub_options;
mod index;
mod local_name;
mod mapped_file;
mod model_source;
mod shard;
mod small_file;
mod span_files;

pub(crate) use checkpoint::Checkpoint;
pub use hub_options::HubOptions;
pub use local_name::{is_gguf_file, local_name};
pub use model_source::ModelSource;
pub(crate) use shard::TensorRows;
pub use span_files::SpanFiles;
