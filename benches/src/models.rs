//! The models that are measured: the embedded one, and random ones of the shape of larger ones.

use std::path::{Path, PathBuf};

/// The model in the repository: 8 blocks, hidden size 256.
pub(crate) fn fable() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/fable-7m")
}

/// Deterministic values without meaning, `[tokens, hidden]`.
pub(crate) fn hidden_states(tokens: usize, hidden: usize) -> Vec<f32> {
    let values = (0..tokens * hidden).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0);
    values.collect()
}
