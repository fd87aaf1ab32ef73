//! How a command ends, if not by having done what it was asked.

use block_program::Failure;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The operator must act.
    Failed(Failure),
    /// Whoever read our standard output has seen enough (`| head`).
    OutputClosed,
    /// Ctrl-C or SIGTERM.
    Interrupted,
}

impl From<Failure> for Ending {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}
