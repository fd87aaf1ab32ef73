//! A token that never shows in logs or debug output.

use std::fmt;
use std::path::Path;

use crate::error_report::Failure;
use crate::flag_file;

/// A secret text; `Debug` hides it.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The first line of `file`, which the flag `flag` names.
    ///
    /// # Errors
    /// The file is missing (exit 66), unreadable (77), empty or too long (2).
    pub fn read(flag: &str, file: &Path) -> Result<Self, Failure> {
        let text = flag_file::read(flag, file, MAX_FILE_BYTES)?;
        let token = text.lines().next().unwrap_or_default().trim();
        if token.is_empty() || text.len() as u64 == MAX_FILE_BYTES {
            return Err(Failure::usage(format!(
                "{flag} accepts a file with the token in its first line"
            ))
            .cause(format!(
                "{} is empty or longer than {MAX_FILE_BYTES} bytes",
                file.display()
            )));
        }
        Ok(Self(token.to_owned()))
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `candidate` is the secret; takes the same time wherever they differ.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        let secret = self.0.as_bytes();
        let differing = secret
            .iter()
            .zip(candidate)
            .fold(0_u8, |bits, (left, right)| bits | (left ^ right));
        secret.len() == candidate.len() && differing == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Largest token file; tokens have under 100 bytes.
const MAX_FILE_BYTES: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_report::Exit;

    #[test]
    fn a_secret_matches_itself_only_and_stays_hidden() {
        let secret = Secret::new("abc".into());
        assert!(secret.matches(b"abc"));
        for wrong in [&b"abd"[..], b"ab", b"abcd", b""] {
            assert!(!secret.matches(wrong));
        }
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn files_are_read_with_bounds() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("token");
        assert_eq!(
            Secret::read("--token-file", &file).unwrap_err().exit(),
            Exit::NoInput
        );
        std::fs::write(&file, "\n").unwrap();
        assert_eq!(
            Secret::read("--token-file", &file).unwrap_err().exit(),
            Exit::Usage
        );
        std::fs::write(&file, "x".repeat(5000)).unwrap();
        assert_eq!(
            Secret::read("--token-file", &file).unwrap_err().exit(),
            Exit::Usage
        );
        std::fs::write(&file, " token \nrest").unwrap();
        assert_eq!(
            Secret::read("--token-file", &file).unwrap().expose(),
            "token"
        );
    }
}
