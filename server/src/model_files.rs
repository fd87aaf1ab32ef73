//! From the operator's choice of model to its files, and what to say when they fail.

use std::io::ErrorKind;
use std::ops::Range;

use block_model::{
    CandleSpan, ComputeDevice, ConfigError, HubError, HubOptions, LoadError, ModelSource, SpanDType,
};

use crate::config::Config;
use block_program::Secret;
use block_program::{Exit, Failure};

/// Finds the model and reads its configuration. Blocks: it may ask the hub.
///
/// # Errors
/// See [`failure`].
pub(crate) fn open(config: &Config, progress_bar: bool) -> Result<ModelSource, Failure> {
    let choice = &config.model;
    let source = if choice.is_local {
        ModelSource::directory(&choice.name)
    } else {
        ModelSource::hub(HubOptions {
            revision: choice.revision.clone(),
            token: config
                .hub
                .token
                .as_ref()
                .map(|token| Secret::expose(token).to_owned()),
            cache_dir: config.hub.cache_dir.clone(),
            offline: config.hub.offline,
            progress_bar,
            ..HubOptions::new(&choice.name)
        })
    };
    source.map_err(|error| failure(&error, &choice.name))
}

/// Loads blocks; fetches what they need first. Blocks for as long as it takes.
///
/// # Errors
/// See [`failure`].
pub(crate) fn load(
    source: &ModelSource,
    blocks: Range<usize>,
    dtype: SpanDType,
) -> Result<CandleSpan, Failure> {
    CandleSpan::load(source, blocks, dtype, ComputeDevice::Cpu)
        .map_err(|error| failure(&error, &source.name()))
}

/// Who must act on a failed load, and how.
fn failure(error: &LoadError, model: &str) -> Failure {
    let (exit, hint) = verdict(error, model);
    let failure = Failure::new(exit, format!("cannot load the model {model}")).caused_by(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn verdict(error: &LoadError, model: &str) -> (Exit, Option<String>) {
    let hint = |text: &str| Some(text.to_owned());
    match error {
        LoadError::NotFound { .. } => (
            Exit::NoInput,
            hint("a model folder holds config.json and .safetensors files"),
        ),
        LoadError::MissingShard { .. } => (
            Exit::NoInput,
            hint("fetch the file, or choose other --blocks"),
        ),
        LoadError::Damaged { .. } => (
            Exit::BadData,
            hint("delete the file, fetch it again, and start again"),
        ),
        LoadError::MissingTensor { .. } | LoadError::WrongShape { .. } => (
            Exit::BadData,
            hint("fetch config.json and the weights from the same place again"),
        ),
        LoadError::UnsupportedDType { .. } => (
            Exit::BadData,
            hint("choose a checkpoint with F32, F16 or BF16 weights"),
        ),
        LoadError::BlocksOutsideModel { num_blocks, .. } => {
            (Exit::Usage, Some(format!("--blocks 0:{num_blocks}")))
        }
        LoadError::Config {
            source: ConfigError::UnsupportedArchitecture { supported, .. },
            ..
        } => (
            Exit::BadData,
            Some(format!(
                "choose a model of a supported architecture: {supported}"
            )),
        ),
        LoadError::Config { .. } => (
            Exit::BadData,
            hint("fetch config.json again, or choose another model"),
        ),
        LoadError::Hub(error) => hub_verdict(error, model),
        LoadError::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            (Exit::NoPermission, hint("let this user read the file"))
        }
        LoadError::Io { .. } => (Exit::NoInput, None),
        LoadError::Device { .. } => (Exit::Unavailable, hint("--device cpu")),
        LoadError::Place(_) => (
            Exit::Unavailable,
            hint("fewer --blocks, or a smaller --attn-cache-tokens"),
        ),
    }
}

fn hub_verdict(error: &HubError, model: &str) -> (Exit, Option<String>) {
    match error {
        HubError::NotFound { .. } => (
            Exit::NoInput,
            Some(
                "check the name and --revision; a local folder needs ./ before its name".to_owned(),
            ),
        ),
        HubError::AccessDenied { .. } => (
            Exit::NoPermission,
            Some(format!(
                "ask for access on https://huggingface.co/{model}, then give a token with --token-file or HF_TOKEN"
            )),
        ),
        HubError::NotCached { .. } => (
            Exit::NoInput,
            Some("start once without --offline and HF_HUB_OFFLINE to fetch it".to_owned()),
        ),
        HubError::Unreachable { .. } => (
            Exit::Unavailable,
            Some("try again; --offline uses what is in the cache".to_owned()),
        ),
        HubError::Client(_) => (Exit::Usage, None),
    }
}
