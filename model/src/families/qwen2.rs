//! Qwen2 and 2.5: Llama with biases on queries, keys and values, and in some models a window in the later blocks. Names
//! as in transformers' `Qwen2ForCausalLM`.

use crate::config::{ConfigError, Family, ModelConfig, RawConfig};

pub(super) fn config(mut raw: RawConfig) -> Result<ModelConfig, ConfigError> {
    let mut config = raw.base(Family::Qwen2)?;
    config.attention_bias = true;
    config.windows = later_windows(&raw)?;
    Ok(config)
}

/// Windows as all Qwen models have them: where they are in use at all, from `max_window_layers` on.
pub(super) fn later_windows(raw: &RawConfig) -> Result<Vec<Option<usize>>, ConfigError> {
    if !raw.use_sliding_window.unwrap_or(false) {
        return Ok(vec![None; raw.num_hidden_layers]);
    }
    let first = raw.max_window_layers.unwrap_or(28);
    raw.windows(|block| block >= first)
}
