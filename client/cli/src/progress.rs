//! What is being waited for, on stderr, and only on a terminal.

use std::time::Duration;

use indicatif::ProgressBar;

/// A line that says what is being waited for; gone when dropped.
#[derive(Debug)]
pub(crate) struct Waiting(ProgressBar);

impl Waiting {
    /// Shows `what`. Nothing is drawn unless stderr is a terminal.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        let bar = ProgressBar::new_spinner();
        bar.set_message(what.into());
        bar.enable_steady_tick(PERIOD);
        Self(bar)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Time between two pictures of the spinner.
const PERIOD: Duration = Duration::from_millis(120);
