//! Which model is meant.

use block_client::{RegisteredModel, Swarm};
use block_program::{Exit, Failure, ModelName, on_blocking_thread};
use block_protocol::dht_prefix::{PrefixRule, default_prefix};
use block_protocol::model_record::REPOSITORY_HOST;

use crate::cli::ModelFlags;
use crate::membership::swarm_failure;
use crate::model_files;

/// A model, as far as its servers are to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    /// As the user named it.
    pub(crate) id: String,
    /// Its prefix in the DHT.
    pub(crate) dht_prefix: String,
    /// Blocks of the whole model.
    pub(crate) num_blocks: usize,
}

/// Finds the model: a folder by its `config.json`, else by the swarm's list, else by the hub.
///
/// # Errors
/// Nobody knows it (exit 66), or the swarm cannot be asked (69).
pub(crate) async fn find(flags: &ModelFlags, swarm: &Swarm) -> Result<Subject, Failure> {
    let name = ModelName::parse(&flags.model)?;
    if name.is_local {
        return from_files(flags).await;
    }
    let registry = swarm
        .registry()
        .await
        .map_err(|error| swarm_failure(&error))?;
    if let Some(model) = in_registry(&registry, &name.name, flags.dht_prefix.as_deref()) {
        return Ok(Subject {
            id: flags.model.clone(),
            dht_prefix: model.dht_prefix.clone(),
            num_blocks: model.num_blocks,
        });
    }
    from_files(flags).await.map_err(|failure| {
        let listed: Vec<&str> = registry
            .iter()
            .map(|model| model.dht_prefix.as_str())
            .take(MAX_LISTED)
            .collect();
        let listed = if listed.is_empty() {
            "the swarm lists no model".to_owned()
        } else {
            format!("the swarm lists: {}", listed.join(", "))
        };
        Failure::new(
            Exit::NoInput,
            format!("no model {} in this swarm", flags.model),
        )
        .cause(listed)
        .cause(failure.in_one_line())
        .hint("swarm models lists the models of a swarm; a name of that list can be used as MODEL")
    })
}

/// By its prefix, by its repository, or by the prefix that servers derive from its name.
fn in_registry<'a>(
    registry: &'a [RegisteredModel],
    name: &str,
    prefix: Option<&str>,
) -> Option<&'a RegisteredModel> {
    if let Some(prefix) = prefix {
        return registry.iter().find(|model| model.dht_prefix == prefix);
    }
    let repository = format!("{REPOSITORY_HOST}{name}");
    // Which family it is of shows only in its files.
    let derived = PrefixRule::ALL.map(|rule| default_prefix(rule, name).ok());
    let tests: [&dyn Fn(&RegisteredModel) -> bool; 3] = [
        &|model| model.dht_prefix == name,
        &|model| model.repository.as_deref() == Some(repository.as_str()),
        &|model| {
            let derived = derived.iter().flatten();
            derived.clone().any(|prefix| *prefix == model.dht_prefix)
        },
    ];
    tests
        .iter()
        .find_map(|test| registry.iter().find(|model| test(model)))
}

async fn from_files(flags: &ModelFlags) -> Result<Subject, Failure> {
    let owned = flags.clone();
    let found = on_blocking_thread(move || model_files::find(&owned)).await?;
    Ok(Subject {
        id: flags.model.clone(),
        dht_prefix: found.dht_prefix,
        num_blocks: found.source.config().num_blocks,
    })
}

/// Models that a failure lists.
const MAX_LISTED: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_found_by_each_of_its_names() {
        let model = |prefix: &str, repository: Option<&str>| RegisteredModel {
            dht_prefix: prefix.to_owned(),
            num_blocks: 8,
            repository: repository.map(ToOwned::to_owned),
        };
        let registry = [
            model("fable-7m-hf", None),
            model("odd", Some("https://huggingface.co/org/name")),
            model("org/Mix-v0-1", None),
        ];
        let found = |name, prefix| {
            in_registry(&registry, name, prefix).map(|model| model.dht_prefix.as_str())
        };
        assert_eq!(found("fable-7m-hf", None), Some("fable-7m-hf"));
        assert_eq!(found("me/fable-7m", None), Some("fable-7m-hf"));
        assert_eq!(found("org/Mix-v0.1", None), Some("org/Mix-v0-1"));
        assert_eq!(found("org/name", None), Some("odd"));
        assert_eq!(found("org/other", Some("odd")), Some("odd"));
        assert_eq!(found("org/other", None), None);
    }
}
