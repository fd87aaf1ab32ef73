//! From the model that the flags name to its files. Blocks: call it on a thread that may wait.

use block_model::{HubOptions, ModelSource};
use block_program::{Failure, ModelName, Secret, model_failure};

use crate::cli::ModelFlags;

/// A model that was found.
#[derive(Debug)]
pub(crate) struct FoundModel {
    /// Its files.
    pub(crate) source: ModelSource,
    /// Its prefix in the DHT.
    pub(crate) dht_prefix: String,
}

/// Finds the model and reads its configuration; may ask the hub. No weights are read.
///
/// # Errors
/// No such folder or repository, no access, nothing that can be read, no prefix.
pub(crate) fn find(flags: &ModelFlags) -> Result<FoundModel, Failure> {
    let name = ModelName::parse(&flags.model)?;
    let source = if name.is_local {
        ModelSource::local(&name.name)
    } else {
        ModelSource::hub(hub_options(flags, &name.name)?)
    };
    let source = source.map_err(|error| model_failure::failure(&error, &name.name))?;
    let dht_prefix = match &flags.dht_prefix {
        Some(prefix) => checked_prefix(prefix)?,
        None => name.dht_prefix(source.config().family)?,
    };
    Ok(FoundModel { source, dht_prefix })
}

/// A prefix as given, if it can be one.
///
/// # Errors
/// Exit 2.
pub(crate) fn checked_prefix(prefix: &str) -> Result<String, Failure> {
    block_protocol::uid::validate_prefix(prefix)
        .map(|()| prefix.to_owned())
        .map_err(|error| {
            Failure::usage(format!("--dht-prefix {prefix:?} cannot be used")).caused_by(&error)
        })
}

/// Whether no call may leave this machine for the hub.
pub(crate) fn is_offline(flags: &ModelFlags) -> bool {
    let is_on = |value: String| {
        ["1", "on", "yes", "true"]
            .iter()
            .any(|on| value.eq_ignore_ascii_case(on))
    };
    flags.hub.offline || std::env::var("HF_HUB_OFFLINE").is_ok_and(is_on)
}

fn hub_options(flags: &ModelFlags, repository: &str) -> Result<HubOptions, Failure> {
    let token = match (&flags.hub.token, &flags.hub.token_file) {
        (Some(token), _) => Some(token.clone()),
        (None, Some(file)) => Some(Secret::read("--token-file", file)?.expose().to_owned()),
        (None, None) => None,
    };
    Ok(HubOptions {
        revision: flags.hub.revision.clone(),
        token,
        cache_dir: flags.hub.cache_dir.clone(),
        offline: is_offline(flags),
        ..HubOptions::new(repository)
    })
}
