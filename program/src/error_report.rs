//! What an operator reads when the program cannot go on: one sentence, its
//! causes, what to type next, and a sysexits code that a unit file can act on.
//!
//! ```text
//! error: what failed
//!   cause: why
//!   hint: what to type
//! ```

use std::error::Error;
use std::fmt;

/// Exit codes of the program (sysexits.h where it has one).
///
/// 2, 65 and 78 mean "starting again will not help"; the others may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 2: a flag is wrong or missing.
    Usage,
    /// 65: the model's files are damaged or of an unsupported kind.
    BadData,
    /// 66: the model or a file of it was not found.
    NoInput,
    /// 69: something needed is not there: memory, device, bootstrap peer.
    Unavailable,
    /// 70: an internal bug.
    Software,
    /// 71: the system refused: port in use, file cannot be written.
    OsError,
    /// 75: another process holds what we need; try again later.
    TemporaryFailure,
    /// 77: the hub or the file system denies access.
    NoPermission,
    /// 78: the configuration file is wrong.
    BadConfig,
    /// 130: stopped at once by a second Ctrl-C.
    Interrupted,
}

impl Exit {
    /// The number handed to the system.
    pub const fn code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::BadData => 65,
            Self::NoInput => 66,
            Self::Unavailable => 69,
            Self::Software => 70,
            Self::OsError => 71,
            Self::TemporaryFailure => 75,
            Self::NoPermission => 77,
            Self::BadConfig => 78,
            Self::Interrupted => 130,
        }
    }
}

/// A failure that ends the program; only the operator can act on it.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    what: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl Failure {
    /// A failure with one sentence: lower case, no full stop.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self {
            exit,
            what: what.into(),
            causes: Vec::new(),
            hint: None,
        }
    }

    /// A wrong or missing flag (exit 2).
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// Adds one line that says why.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// Adds an error and all its sources, one line each, without repeating a
    /// source that the line before already contains.
    #[must_use]
    pub fn caused_by(mut self, error: &(dyn Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(current) = next {
            let text = current.to_string();
            if !self.causes.last().is_some_and(|last| last.contains(&text)) {
                self.causes.push(text);
            }
            next = current.source();
        }
        self
    }

    /// Says what to type; replaces an earlier hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The sentence, and its causes after colons: for a failure that becomes another one's cause.
    pub fn in_one_line(&self) -> String {
        let causes = self.causes.iter().map(String::as_str);
        let parts: Vec<&str> = std::iter::once(self.what.as_str()).chain(causes).collect();
        one_line(&parts.join(": "))
    }

    /// What to type next, if it is known.
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// How the process ends.
    pub const fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        for cause in &self.causes {
            write!(f, "\n  cause: {}", one_line(cause))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl Error for Failure {}

/// Folds the line breaks of a foreign error text: one cause is one line.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer: {0}")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("inner")]
    struct Inner;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read")]
    struct Quiet(#[source] Inner);

    #[test]
    fn each_cause_is_one_line_and_is_said_once() {
        let told = Failure::new(Exit::OsError, "it failed").caused_by(&Outer(Inner));
        assert_eq!(told.to_string(), "error: it failed\n  cause: outer: inner");
        let quiet = Failure::new(Exit::OsError, "it failed")
            .caused_by(&Quiet(Inner))
            .hint("try again");
        assert_eq!(
            quiet.to_string(),
            "error: it failed\n  cause: cannot read\n  cause: inner\n  hint: try again"
        );
    }

    #[test]
    fn line_breaks_of_a_cause_are_folded() {
        let failure = Failure::usage("no").cause("a\n  b");
        assert_eq!(failure.to_string(), "error: no\n  cause: a b");
    }

    #[test]
    fn codes_are_sysexits() {
        let codes = [
            Exit::Usage,
            Exit::BadData,
            Exit::NoInput,
            Exit::Unavailable,
            Exit::Software,
            Exit::OsError,
            Exit::TemporaryFailure,
            Exit::NoPermission,
            Exit::BadConfig,
            Exit::Interrupted,
        ]
        .map(Exit::code);
        assert_eq!(codes, [2, 65, 66, 69, 70, 71, 75, 77, 78, 130]);
    }
}
