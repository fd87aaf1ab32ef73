//! Mistral: Llama whose every block has a window. Names as in transformers' `MistralForCausalLM`.

use crate::config::{ConfigError, Family, ModelConfig, RawConfig};

pub(super) fn config(mut raw: RawConfig) -> Result<ModelConfig, ConfigError> {
    raw.num_key_value_heads.get_or_insert(8);
    let mut config = raw.base(Family::Mistral)?;
    config.windows = raw.windows(|_| true)?;
    Ok(config)
}
