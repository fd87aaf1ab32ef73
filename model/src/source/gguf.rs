//! GGUF: a whole model in one file, as llama.cpp has it; weights often quantized.
//!
//! | offset | size | field    | value                                                                         |
//! |-------:|-----:|----------|-------------------------------------------------------------------------------|
//! |      0 |    4 | magic    | `GGUF`                                                                        |
//! |      4 |    4 | version  | u32; 2 or 3                                                                   |
//! |      8 |    8 | tensors  | u64, their number                                                             |
//! |     16 |    8 | values   | u64, number of values of metadata                                             |
//! |     24 |      | metadata | for each a key, a type (u32) and a value; strings are a length (u64) and bytes |
//! |        |      | table    | for each tensor name, dimensions, sizes, type, offset behind the padding      |
//! |        |      | padding  | to a multiple of `general.alignment`, or 32                                   |
//! |        |      | bytes    | the tensors, each at a multiple of the same                                   |
//!
//! Everything is little-endian. Source: ggml, `docs/gguf.md`.
//!
//! - `cursor`, `value`, `header`, `kind`: the format
//! - `file`: an open file; `blocks`, `rows`: its tensors as floats or integers
//! - `architecture`, `names`, `row_order`: tensors by transformers' names and in its order
//! - `config_json`, `tokenizer`: what other files say of a model elsewhere
//! - `model`: all of it together

mod architecture;
mod blocks;
mod config_json;
mod cursor;
mod file;
mod header;
mod kind;
mod model;
mod names;
mod row_order;
mod rows;
mod tokenizer;
mod value;

#[cfg(test)]
mod test_file;

pub(crate) use model::GgufModel;
pub(crate) use rows::GgufRows;
pub use tokenizer::GgufTokenizer;
