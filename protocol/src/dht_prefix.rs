//! The default prefix of a model's keys in the DHT, so that strangers meet without agreeing on one.
//!
//! | family  | from `owner/Name-1.5B`                 | prefix               |
//! |---------|----------------------------------------|----------------------|
//! | Llama   | last component, `-hf` if not there yet | `Name-1-5B-hf`       |
//! | Falcon  | last component                         | `Name-1-5B`          |
//! | Mixtral | whole name                             | `owner/Name-1-5B`    |
//! | BLOOM   | whole name and `-petals`               | `owner/Name-1-5B-petals` |
//!
//! `.` always becomes `-`. Source: Petals main, `models/*/config.py`.

use crate::{error::DecodeError, uid::validate_prefix};

/// Which of the rules above a model follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrefixRule {
    /// Llama and everything that calls itself so.
    Llama,
    /// Falcon.
    Falcon,
    /// Mixtral.
    Mixtral,
    /// BLOOM.
    Bloom,
}

/// The prefix that a Petals peer would use for the repository `name`, or that we use for a local
/// directory called `name`.
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
    fn a_name_that_cannot_be_a_prefix_is_refused() {
        assert!(default_prefix(PrefixRule::Llama, "my model").is_err());
        assert!(default_prefix(PrefixRule::Falcon, "").is_err());
        assert!(default_prefix(PrefixRule::Falcon, &"x".repeat(300)).is_err());
    }
}
