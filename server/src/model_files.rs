//! From the operator's choice of model to its files, and what to say when they fail.

use std::ops::Range;

use block_model::{CpuOptions, CpuSpan, HubOptions, LoadError, ModelSource};
use block_program::{Failure, Secret, model_failure};

use crate::config::Config;
use crate::plan::{Draft, Memory};

/// Finds the model and reads its configuration. Blocks: it may ask the hub.
///
/// # Errors
/// See [`failure`].
pub(crate) fn open(config: &Config, progress_bar: bool) -> Result<ModelSource, Failure> {
    let choice = &config.model;
    let source = if choice.is_local {
        ModelSource::local(&choice.name)
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

/// Plans what to hold of the model. Blocks: the index of a hub model may be fetched.
///
/// # Errors
/// See [`failure`] and [`Draft::new`].
pub(crate) fn draft(config: &Config, source: &ModelSource) -> Result<Draft, Failure> {
    let stored = source.stored_weights();
    let stored = stored.map_err(|error| failure(&error, &config.model.name))?;
    Draft::new(config, source.config(), &stored, Memory::of(config))
}

/// Fetches what these blocks need, and loads nothing. Blocks for as long as it takes.
///
/// # Errors
/// See [`failure`].
pub(crate) fn fetch(source: &ModelSource, blocks: Range<usize>) -> Result<(), Failure> {
    let fetched = source.fetch(blocks);
    fetched.map_err(|error| failure(&error, &source.name()))
}

/// Loads blocks; fetches what they need first. Blocks for as long as it takes.
///
/// # Errors
/// See [`failure`].
pub(crate) fn load(
    source: &ModelSource,
    blocks: Range<usize>,
    options: &CpuOptions,
) -> Result<CpuSpan, Failure> {
    CpuSpan::load(source, blocks, options).map_err(|error| failure(&error, &source.name()))
}

/// Who must act on a failed load, and how: a server has levers that a client has not.
pub(crate) fn failure(error: &LoadError, model: &str) -> Failure {
    let failure = model_failure::failure(error, model);
    match error {
        LoadError::MissingShard { .. } => failure.hint("fetch the file, or choose other --blocks"),
        LoadError::BlocksOutsideModel { num_blocks, .. } => {
            failure.hint(format!("--blocks 0:{num_blocks}"))
        }
        LoadError::Device { .. } => failure.hint("--device cpu"),
        LoadError::Place(_) => failure.hint("fewer --blocks, or a smaller --attn-cache-tokens"),
        _ => failure,
    }
}
