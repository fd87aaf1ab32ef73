//! Ctrl-C, which ends an answer, and SIGTERM and SIGHUP, which end the program.

use block_program::{Exit, Failure};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that have come since it was made.
#[derive(Debug)]
pub(super) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// To stop what is going on.
    ToStop,
    /// To end the program.
    ToLeave,
}

impl Interrupts {
    /// Takes the signals over.
    ///
    /// # Errors
    /// The system refuses (exit 71).
    pub(super) fn take_over() -> Result<Self, Failure> {
        let watch = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(Exit::OsError, "signals cannot be handled").caused_by(&error)
            })
        };
        Ok(Self {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
            hang_up: watch(SignalKind::hangup())?,
        })
    }

    /// The next signal. Cancel-safe.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::ToStop,
            _ = self.terminate.recv() => Asked::ToLeave,
            _ = self.hang_up.recv() => Asked::ToLeave,
        }
    }
}
