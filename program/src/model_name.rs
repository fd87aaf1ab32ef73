//! A model as a command line names it: a folder or a GGUF file of this machine, or a repository of the hub.

use std::path::Path;

use block_model::{Family, is_gguf_file, local_name};
use block_protocol::dht_prefix::{PrefixRule, default_prefix};

use crate::error_report::{Exit, Failure};

/// A model by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelName {
    /// Folder or file as given, or hub name.
    pub name: String,
    /// Whether `name` is a folder or a file of this machine.
    pub is_local: bool,
}

impl ModelName {
    /// Finds out which of the two `name` is.
    ///
    /// # Errors
    /// It looks like a folder or a file, but there is none (exit 66).
    pub fn parse(name: &str) -> Result<Self, Failure> {
        let path = Path::new(name);
        let is_local = path.is_dir() || (is_gguf_file(path) && path.is_file());
        if !is_local && is_gguf_file(path) {
            return Err(
                Failure::new(Exit::NoInput, format!("there is no file {name}")).hint(
                    "fetch the file first: a model of the hub is named ORG/NAME, without a file",
                ),
            );
        }
        if !is_local && looks_like_a_folder(name) {
            return Err(Failure::new(Exit::NoInput, format!("there is no folder {name}"))
            .hint("a local model is a folder with config.json and .safetensors files; a hub model is ORG/NAME"));
        }
        let name = if is_local {
            name.to_owned()
        } else {
            hub_name(name)
        };
        Ok(Self { name, is_local })
    }

    /// The prefix of the model's keys in the DHT, unless somebody chose another one.
    ///
    /// # Errors
    /// The name gives none (exit 2).
    pub fn dht_prefix(&self, family: Family) -> Result<String, Failure> {
        let name = &self.name;
        let repository = if self.is_local {
            local_name(Path::new(name))
        } else {
            Some(name.clone())
        };
        let rule = PrefixRule::of_model_type(family.model_type());
        let prefix = repository.map(|repository| default_prefix(rule, &repository));
        match prefix {
            Some(Ok(prefix)) => Ok(prefix),
            _ => Err(Failure::usage(format!(
                "the name of the model {name:?} gives no DHT prefix"
            ))
            .hint("name one without dot or space: --dht-prefix my-model-hf")),
        }
    }
}

/// Petals once kept converted copies under `bigscience/X-petals`; it rewrites the name too.
fn hub_name(name: &str) -> String {
    match name.strip_suffix("-petals") {
        Some(original) if name.starts_with("bigscience/") => original.to_owned(),
        _ => name.to_owned(),
    }
}

/// A hub name is `NAME` or `ORG/NAME`.
fn looks_like_a_folder(name: &str) -> bool {
    name.starts_with(['/', '.', '~', '\\']) || name.matches('/').count() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_folder_is_no_hub_name() {
        for name in [
            "./absent",
            "/absent/model",
            "models/llama/absent",
            "absent.gguf",
        ] {
            assert_eq!(
                ModelName::parse(name).unwrap_err().exit(),
                Exit::NoInput,
                "{name}"
            );
        }
        let hub = ModelName::parse("bigscience/x-petals").unwrap();
        assert_eq!((hub.name.as_str(), hub.is_local), ("bigscience/x", false));
    }

    #[test]
    fn the_family_decides_on_the_prefix() {
        let model = ModelName::parse("org/Name-1.5B").unwrap();
        for (_, family) in Family::ARCHITECTURES {
            let expected = match family {
                Family::Llama => "Name-1-5B-hf",
                Family::Mixtral => "org/Name-1-5B",
                Family::Bloom => "org/Name-1-5B-petals",
                _ => "Name-1-5B",
            };
            assert_eq!(model.dht_prefix(*family).unwrap(), expected, "{family}");
        }
    }

    #[test]
    fn the_prefix_comes_from_the_last_part_of_the_name() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("fable-7m");
        std::fs::create_dir(&folder).unwrap();
        let prefix = |name: &str| {
            ModelName::parse(name)
                .unwrap()
                .dht_prefix(Family::Llama)
                .unwrap()
        };
        assert_eq!(prefix(folder.to_str().unwrap()), "fable-7m-hf");
        let file = folder.join("fable-7m.Q4_K_M.gguf");
        std::fs::write(&file, "").unwrap();
        assert_eq!(prefix(file.to_str().unwrap()), "fable-7m-Q4_K_M-hf");
        assert_eq!(prefix("org/Llama-3.1-8B"), "Llama-3-1-8B-hf");
    }
}
