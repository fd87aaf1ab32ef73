//! The default prefix of a model's keys in the DHT, so that strangers meet without agreeing on one.
//!
//! | `model_type`        | from `owner/Name-1.5B`                 | prefix                   |
//! |---------------------|----------------------------------------|--------------------------|
//! | `llama`             | last component, `-hf` if not there yet | `Name-1-5B-hf`           |
//! | `mixtral`           | whole name                             | `owner/Name-1-5B`        |
//! | `bloom`             | whole name and `-petals`               | `owner/Name-1-5B-petals` |
//! | `falcon`, all other | last component                         | `Name-1-5B`              |
//!
//! `.` always becomes `-`. Source: Petals main, `models/*/config.py`, for the four that Petals knows. The others follow
//! Falcon: the plainest of its rules, which also joins copies of a model under several owners.

use crate::{error::DecodeError, uid::validate_prefix};

/// Which of the rules above a model follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrefixRule {
    /// Llama and everything that calls itself so.
    Llama,
    /// Falcon, and every family that Petals does not know.
    Falcon,
    /// Mixtral.
    Mixtral,
    /// BLOOM.
    Bloom,
}

impl PrefixRule {
    /// Every rule.
    pub const ALL: [Self; 4] = [Self::Llama, Self::Falcon, Self::Mixtral, Self::Bloom];

    /// The rule for a `model_type` as `config.json` writes it: Petals chooses by the same word.
    pub fn of_model_type(model_type: &str) -> Self {
        match model_type {
            "llama" => Self::Llama,
            "mixtral" => Self::Mixtral,
            "bloom" => Self::Bloom,
            _ => Self::Falcon,
        }
    }
}

/// The prefix that a Petals peer would use for the repository `name`, or that we use for a local
/// directory or file called `name`.
///
/// # Errors
/// As [`validate_prefix`], for instance for a directory with a space in its name.
pub fn default_prefix(rule: PrefixRule, name: &str) -> Result<String, DecodeError> {
    let whole = name.trim_end_matches('/');
    let last = whole.rsplit('/').next().unwrap_or(whole);
    let prefix = match rule {
        PrefixRule::Llama if last.ends_with("-hf") => last.to_owned(),
        PrefixRule::Llama => format!("{last}-hf"),
        PrefixRule::Falcon => last.to_owned(),
        PrefixRule::Mixtral => whole.to_owned(),
        PrefixRule::Bloom => format!("{whole}-petals"),
    };
    let prefix = prefix.replace('.', "-");
    validate_prefix(&prefix)?;
    Ok(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_follow_the_family() {
        for (rule, name, prefix) in [
            (
                PrefixRule::Llama,
                "X/Meta-Llama-3.1-8B",
                "Meta-Llama-3-1-8B-hf",
            ),
            (
                PrefixRule::Llama,
                "meta-llama/Llama-2-7b-hf",
                "Llama-2-7b-hf",
            ),
            (PrefixRule::Llama, "fable-7m/", "fable-7m-hf"),
            (PrefixRule::Falcon, "tiiuae/falcon-40b", "falcon-40b"),
            (
                PrefixRule::Mixtral,
                "mistralai/Mixtral-8x7B-v0.1",
                "mistralai/Mixtral-8x7B-v0-1",
            ),
            (
                PrefixRule::Bloom,
                "bigscience/bloom",
                "bigscience/bloom-petals",
            ),
        ] {
            assert_eq!(default_prefix(rule, name).as_deref(), Ok(prefix));
        }
    }

    #[test]
    fn the_rule_follows_the_model_type() {
        for (model_type, prefix) in [
            ("llama", "Name-1-5B-hf"),
            ("falcon", "Name-1-5B"),
            ("mixtral", "owner/Name-1-5B"),
            ("bloom", "owner/Name-1-5B-petals"),
            ("qwen3_moe", "Name-1-5B"),
            ("gemma3_text", "Name-1-5B"),
        ] {
            let rule = PrefixRule::of_model_type(model_type);
            let derived = default_prefix(rule, "owner/Name-1.5B");
            assert_eq!(derived.as_deref(), Ok(prefix), "{model_type}");
        }
    }

    #[test]
    fn a_name_that_cannot_be_a_prefix_is_refused() {
        assert!(default_prefix(PrefixRule::Llama, "my model").is_err());
        assert!(default_prefix(PrefixRule::Falcon, "").is_err());
        assert!(default_prefix(PrefixRule::Falcon, &"x".repeat(300)).is_err());
    }
}
