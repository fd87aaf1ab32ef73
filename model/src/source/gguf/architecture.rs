//! The architectures by llama.cpp's names, and the little that reading tensors needs of their sizes.

use super::file::GgufFile;
use super::row_order::RowOrder;
use crate::config::ConfigError;
use crate::error::LoadError;

/// An architecture by `general.architecture`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Architecture {
    /// Llama, Mistral and Mixtral.
    Llama,
    Qwen2,
    Qwen3,
    Qwen3Moe,
    Gemma2,
    Gemma3,
    /// Phi-3 and 4.
    Phi3,
    Falcon,
    Bloom,
}

impl Architecture {
    const NAMES: [(&'static str, Self); 9] = [
        ("llama", Self::Llama),
        ("qwen2", Self::Qwen2),
        ("qwen3", Self::Qwen3),
        ("qwen3moe", Self::Qwen3Moe),
        ("gemma2", Self::Gemma2),
        ("gemma3", Self::Gemma3),
        ("phi3", Self::Phi3),
        ("falcon", Self::Falcon),
        ("bloom", Self::Bloom),
    ];

    /// That of a file.
    ///
    /// # Errors
    /// [`LoadError::Damaged`] if it names none, [`LoadError::Config`] if it is not supported.
    pub(super) fn of(file: &GgufFile) -> Result<Self, LoadError> {
        let name = file.text("general.architecture");
        let name = name.ok_or_else(|| file.damaged("its metadata lacks general.architecture"))?;
        let known = Self::NAMES.iter().find(|(known, _)| *known == name);
        let (_, architecture) = known.ok_or_else(|| LoadError::Config {
            path: file.path().to_owned(),
            source: ConfigError::UnsupportedArchitecture {
                found: format!("{name:?}"),
                supported: Self::NAMES.map(|(name, _)| name).join(", "),
            },
        })?;
        Ok(*architecture)
    }

    /// The name, with which most keys of metadata begin.
    pub(super) fn name(self) -> &'static str {
        Self::NAMES[self as usize].0
    }
}

/// Heads of attention, by which rows are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heads {
    /// Of queries.
    pub(super) queries: usize,
    /// Of keys and values; divides `queries`.
    pub(super) groups: usize,
}

impl Heads {
    /// Those of a file.
    ///
    /// # Errors
    /// [`LoadError::Damaged`] if there are none, or differently many in different blocks.
    pub(super) fn of(file: &GgufFile, architecture: Architecture) -> Result<Self, LoadError> {
        let key = |name| format!("{}.attention.{name}", architecture.name());
        let queries = key("head_count");
        let groups = key("head_count_kv");
        let count = |key: &str| file.size(key).and_then(|count| usize::try_from(count).ok());
        let count_queries = count(&queries).filter(|count| *count > 0);
        let count_queries = count_queries.ok_or_else(|| {
            file.damaged(format!(
                "{queries} is missing or not one number for all blocks"
            ))
        })?;
        let count_groups = match file.metadata(&groups) {
            None => Some(count_queries),
            Some(_) => count(&groups).filter(|count| *count > 0),
        };
        let fitting = count_groups.filter(|groups| count_queries.is_multiple_of(*groups));
        Ok(Self {
            queries: count_queries,
            groups: fitting.ok_or_else(|| {
                file.damaged(format!(
                    "{groups} is no divisor of {queries} for all blocks"
                ))
            })?,
        })
    }

    /// How a tensor's rows are ordered, by what comes after the block's number.
    pub(super) fn row_order(self, architecture: Architecture, part: &str) -> RowOrder {
        match (architecture, part) {
            (Architecture::Llama, "attn_q") => RowOrder::Paired {
                heads: self.queries,
            },
            (Architecture::Llama, "attn_k") => RowOrder::Paired { heads: self.groups },
            (Architecture::Falcon | Architecture::Bloom, "attn_qkv") => RowOrder::Joined {
                groups: self.groups,
                queries: self.queries / self.groups,
            },
            _ => RowOrder::Same,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Architecture;

    #[test]
    fn names_are_in_the_order_of_the_architectures() {
        for (name, architecture) in Architecture::NAMES {
            assert_eq!(architecture.name(), name);
        }
    }
}
