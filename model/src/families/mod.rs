//! The families: what `config.json` means, and which tensors of a checkpoint make up a block.
//!
//! - `layout`, `ends`: how a family says it
//! - `llama` and the others: each as short as its difference from what came before

mod bloom;
mod ends;
mod falcon;
mod gemma2;
mod gemma3;
mod layout;
mod llama;
mod mistral;
mod mixtral;
mod phi3;
mod qwen2;
mod qwen3;
mod qwen3_moe;

pub(crate) use ends::Ends;
pub(crate) use layout::{
    AttentionLayout, BlockLayout, GatedLayout, MlpBody, NormKind, NormLayout, Part,
};

use crate::config::{ConfigError, Family, ModelConfig, RawConfig};

/// What a family makes of its configuration.
///
/// # Errors
/// [`ConfigError`].
pub(crate) fn config(family: Family, raw: RawConfig) -> Result<ModelConfig, ConfigError> {
    match family {
        Family::Llama => llama::config(raw),
        Family::Mistral => mistral::config(raw),
        Family::Mixtral => mixtral::config(raw),
        Family::Qwen2 => qwen2::config(raw),
        Family::Qwen3 => qwen3::config(raw),
        Family::Qwen3Moe => qwen3_moe::config(raw),
        Family::Gemma2 => gemma2::config(raw),
        Family::Gemma3 => gemma3::config(raw),
        Family::Phi3 => phi3::config(raw),
        Family::Falcon => falcon::config(raw),
        Family::Bloom => bloom::config(raw),
    }
}

/// What block `number` consists of.
pub(crate) fn block(config: &ModelConfig, number: usize) -> BlockLayout {
    match (config.family, &config.mixture) {
        (Family::Mixtral, Some(mixture)) => mixtral::block(config, mixture, number),
        (Family::Qwen3Moe, Some(mixture)) => qwen3_moe::block(config, mixture, number),
        (Family::Llama | Family::Mistral | Family::Mixtral | Family::Qwen2, _) => {
            llama::block(config, number)
        }
        (Family::Qwen3 | Family::Qwen3Moe, _) => qwen3::block(config, number),
        (Family::Gemma2, _) => gemma2::block(config, number),
        (Family::Gemma3, _) => gemma3::block(config, number),
        (Family::Phi3, _) => phi3::block(config, number),
        (Family::Falcon | Family::Bloom, _) => falcon::block(config, number),
    }
}

/// What a client keeps at home.
pub(crate) fn ends(config: &ModelConfig) -> Ends {
    match config.family {
        Family::Llama
        | Family::Mistral
        | Family::Mixtral
        | Family::Qwen2
        | Family::Qwen3
        | Family::Qwen3Moe
        | Family::Phi3 => Ends::llama(config, NormKind::Rms),
        Family::Gemma2 | Family::Gemma3 => Ends::llama(config, NormKind::RmsPlusOne),
        Family::Falcon => falcon::ends(config),
        Family::Bloom => bloom::ends(config),
    }
}

/// Names under which checkpoints keep a tensor, the usual one first: what is around a model's text part, or is not,
/// differs between the tools that wrote them.
pub(crate) fn spellings(name: &str) -> impl Iterator<Item = String> {
    let bare = name.strip_prefix("transformer.").map(str::to_owned);
    let inside = (name.starts_with("model.") || name.starts_with("lm_head."))
        .then(|| [format!("language_model.{name}"), inside_model(name)])
        .into_iter()
        .flatten();
    std::iter::once(name.to_owned()).chain(bare).chain(inside)
}

/// `model.x` as `model.language_model.x`, as transformers writes models that also see pictures since version 4.52.
fn inside_model(name: &str) -> String {
    match name.strip_prefix("model.") {
        Some(rest) => format!("model.language_model.{rest}"),
        None => name.to_owned(),
    }
}
