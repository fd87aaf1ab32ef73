//! Tokenizers that are damaged, or not what can be read.
