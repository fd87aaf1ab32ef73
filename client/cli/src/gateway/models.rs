//! The models of `swarm gateway`.

use std::collections::BTreeSet;
use std::path::Path;

use block_client::{ModelOptions, RemoteModel, Swarm};
use block_gateway::{ServedModel, ServedModelOptions};
use block_model::local_name;
use block_program::{Exit, Failure, ModelName, on_blocking_thread};

use crate::cli::ServedFlags;
use crate::model_files::{self, FoundModel};
use crate::progress::Waiting;
use crate::session_failure::remote_failure;

/// What is wrong without asking anybody.
///
/// # Errors
/// Names that are not one for each model, or one for several models (exit 2).
pub(super) fn check(flags: &ServedFlags) -> Result<(), Failure> {
    let (models, names) = (flags.models.len(), flags.names.len());
    if names > 0 && names != models {
        return Err(Failure::usage(format!(
            "--served-model-name has {names} names for {models} models"
        ))
        .hint("give one name for each --model, in the same order, or none at all"));
    }
    if flags.dht_prefix.is_some() && models > 1 {
        return Err(Failure::usage("--dht-prefix is for one model")
            .hint("start a gateway for each model, or rely on the models' names"));
    }
    let mut seen = BTreeSet::new();
    for (number, model) in flags.models.iter().enumerate() {
        let name = name(flags, number, model);
        if !seen.insert(name.clone()) {
            return Err(Failure::usage(format!("two models are called {name:?}"))
                .hint("--served-model-name gives each its own name"));
        }
    }
    Ok(())
}

fn name(flags: &ServedFlags, number: usize, model: &str) -> String {
    let given = flags.names.get(number).cloned();
    given.unwrap_or_else(|| match ModelName::parse(model) {
        Ok(found) if !found.is_local => found.name,
        _ => local_name(Path::new(model)).unwrap_or_else(|| model.to_owned()),
    })
}

/// What a server of another machine would be given: a hub name; a folder only if it is named as in a clone of its
/// makers' repository, not by its place on this machine.
fn source(model: &str) -> Option<String> {
    match ModelName::parse(model) {
        Ok(found) if found.is_local && Path::new(model).is_absolute() => None,
        _ => Some(model.to_owned()),
    }
}

/// Loads what stays at home of each, and begins to look for their servers.
///
/// # Errors
/// A model or the chat template cannot be used.
pub(super) async fn load(flags: &ServedFlags, swarm: &Swarm) -> Result<Vec<ServedModel>, Failure> {
    let template = match &flags.chat_template {
        Some(file) => Some(std::fs::read_to_string(file).map_err(|error| {
            Failure::new(
                Exit::NoInput,
                format!("cannot read --chat-template {}", file.display()),
            )
            .caused_by(&error)
        })?),
        None => None,
    };
    let mut served = Vec::with_capacity(flags.models.len());
    for (number, model) in flags.models.iter().enumerate() {
        let _waiting = Waiting::new(format!("loading tokenizer, embeddings and head of {model}"));
        let (remote, revision) = load_one(flags, model, swarm).await?;
        let options = ServedModelOptions {
            revision,
            source: source(model),
            chat_template: template.clone(),
            max_model_len: flags.max_model_len,
            max_tokens_cap: flags.max_tokens_cap,
            ..ServedModelOptions::new(name(flags, number, model))
        };
        let model = ServedModel::new(remote, options).map_err(|error| {
            Failure::new(Exit::BadData, "the file of --chat-template cannot be used")
                .caused_by(&error)
                .hint("it must be a Jinja template as in a model's chat_template.jinja")
        })?;
        served.push(model);
    }
    Ok(served)
}

async fn load_one(
    flags: &ServedFlags,
    model: &str,
    swarm: &Swarm,
) -> Result<(RemoteModel, Option<String>), Failure> {
    let of_one = flags.of(model);
    let found = on_blocking_thread(move || model_files::find(&of_one)).await?;
    let FoundModel { source, dht_prefix } = found;
    let revision = source.commit().map(str::to_owned);
    let options = ModelOptions {
        dht_prefix: Some(dht_prefix),
    };
    let remote = swarm
        .load(source, options)
        .await
        .map_err(|error| remote_failure(&error, model))?;
    // Without an answer in time the gateway tells what is missing.
    let _ = remote.view.ready(FIRST_LOOK).await;
    Ok((remote, revision))
}

/// A line about a model at the start.
pub(super) fn in_words(model: &ServedModel) -> String {
    let snapshot = model.remote().view.snapshot();
    let missing: Vec<String> = snapshot
        .missing()
        .iter()
        .map(|run| format!("{}:{}", run.start, run.end))
        .collect();
    let state = if missing.is_empty() {
        "every block has a server".to_owned()
    } else {
        format!("no server yet for blocks {}", missing.join(", "))
    };
    format!(
        "{}: {} blocks, {state}; up to {} tokens",
        model.name(),
        snapshot.num_blocks,
        model.max_model_len()
    )
}

/// How long the start waits for a first picture of the swarm.
const FIRST_LOOK: std::time::Duration = std::time::Duration::from_secs(5);
