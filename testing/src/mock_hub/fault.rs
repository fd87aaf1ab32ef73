//! What may go wrong between the mock hub and who asks it.

use super::Host;

/// Something that goes wrong with some requests.
#[derive(Clone, Debug)]
pub struct Fault {
    pub(super) host: Host,
    pub(super) method: &'static str,
    pub(super) file: &'static str,
    pub(super) action: Action,
    /// Requests before the first one that goes wrong.
    pub(super) skipped: usize,
    /// Requests that go wrong.
    pub(super) times: usize,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Action {
    /// The answer is a status.
    Refuse {
        /// `503 Service Unavailable`
        status: &'static str,
        /// The hub's own name for it.
        code: &'static str,
        /// What the hub asks for, in seconds.
        retry_after: Option<u64>,
    },
    /// The connection ends after so many bytes of the body.
    Cut(u64),
    /// After so many bytes of the body no more come, and the connection stays.
    Stall(u64),
    /// The range asked for is ignored.
    SendWhole,
    /// The length given is that of the whole file, though a range is sent, as some mirrors do.
    ClaimWhole,
    /// The file has another etag.
    Rename(&'static str),
    /// The first byte of the body is another.
    Flip,
}

impl Fault {
    /// `action` with every request of this `method` to this `host` for files whose names start so.
    pub fn new(host: Host, method: &'static str, file: &'static str, action: Action) -> Self {
        Self {
            host,
            method,
            file,
            action,
            skipped: 0,
            times: usize::MAX,
        }
    }

    /// The first `skipped` requests go well.
    pub fn after(self, skipped: usize) -> Self {
        Self { skipped, ..self }
    }

    /// Only so many requests go wrong.
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// What goes wrong with a request, if it is one of those.
    pub(super) fn strikes(&mut self, host: Host, method: &str, file: &str) -> Option<Action> {
        if self.host != host || self.method != method || !file.starts_with(self.file) {
            return None;
        }
        if self.skipped > 0 {
            self.skipped -= 1;
            return None;
        }
        self.times = self.times.checked_sub(1)?;
        Some(self.action.clone())
    }
}
