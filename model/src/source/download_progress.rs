//! What an operator sees of a download: a bar on a terminal, log lines elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hf_hub::progress::{DownloadEvent, ProgressEvent, ProgressHandler};
use indicatif::{ProgressBar, ProgressStyle};
use tracing::info;

/// Follows a download of one or several files.
#[derive(Debug)]
pub(super) struct DownloadProgress {
    bar: ProgressBar,
    started: Instant,
    /// Bytes that are here, of `total_bytes`.
    bytes: AtomicU64,
    total_bytes: AtomicU64,
    /// Bytes that were here before.
    kept_bytes: AtomicU64,
    logged: Mutex<Logged>,
}

#[derive(Debug)]
struct Logged {
    file: String,
    at: Instant,
    tenths: u64,
}

impl DownloadProgress {
    /// Shows nothing before there is something to fetch.
    pub(super) fn new(file: &str, show_bar: bool) -> Self {
        let bar = if show_bar {
            ProgressBar::no_length()
        } else {
            ProgressBar::hidden()
        };
        let style =
            ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        let now = Instant::now();
        let progress = Self {
            bar,
            started: now,
            bytes: AtomicU64::new(0),
            total_bytes: AtomicU64::new(0),
            kept_bytes: AtomicU64::new(0),
            logged: Mutex::new(Logged {
                file: String::new(),
                at: now,
                tenths: 0,
            }),
        };
        progress.name(file);
        progress
    }

    /// Of what is too small to be shown.
    pub(super) fn hidden() -> Self {
        Self::new("", false)
    }

    /// Which file is being fetched now.
    pub(super) fn name(&self, file: &str) {
        self.bar.set_message(file.to_owned());
        file.clone_into(&mut self.logged().file);
    }

    /// How many bytes there will be in the end, and how many of them are here from before.
    pub(super) fn expect(&self, total_bytes: u64, kept_bytes: u64) {
        self.total_bytes.store(total_bytes, Ordering::Relaxed);
        self.kept_bytes.store(kept_bytes, Ordering::Relaxed);
        self.bytes.store(kept_bytes, Ordering::Relaxed);
        self.bar.set_length(total_bytes);
        // What was here before says nothing of how fast the rest will come.
        self.bar.set_position(kept_bytes);
        self.bar.reset_eta();
    }

    /// Bytes so far; changes as long as the download is alive.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// More bytes are here.
    pub(super) fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.show();
    }

    /// Bytes that were added must come again.
    pub(super) fn take_back(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.show();
    }

    fn advance(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.show();
    }

    fn show(&self) {
        let bytes = self.bytes();
        self.bar.set_position(bytes);
        let total_bytes = self.total_bytes.load(Ordering::Relaxed);
        if !self.bar.is_hidden() || total_bytes < LOGGED_FROM_BYTES {
            return;
        }
        let now = Instant::now();
        let mut logged = self.logged();
        let tenths = bytes.saturating_mul(10) / total_bytes;
        if tenths <= logged.tenths && now.duration_since(logged.at) < LOGGED_PERIOD {
            return;
        }
        (logged.at, logged.tenths) = (now, tenths);
        let fetched = bytes.saturating_sub(self.kept_bytes.load(Ordering::Relaxed));
        let left = total_bytes.saturating_sub(bytes);
        let (bytes_per_second, seconds_left) =
            pace(fetched, left, now.duration_since(self.started));
        info!(
            file = logged.file,
            bytes,
            total_bytes,
            percent = bytes.saturating_mul(100) / total_bytes,
            bytes_per_second,
            seconds_left,
            "fetching"
        );
    }

    fn logged(&self) -> std::sync::MutexGuard<'_, Logged> {
        self.logged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes per second so far, and seconds until the bytes that are left are here at this rate.
fn pace(fetched_bytes: u64, left_bytes: u64, elapsed: Duration) -> (u64, u64) {
    let per_second = fetched_bytes as f64 / elapsed.as_secs_f64().max(f64::EPSILON);
    // At least a byte a second, so that there is an end.
    let seconds_left = left_bytes as f64 / per_second.max(1.0);
    (per_second as u64, seconds_left as u64)
}

impl ProgressHandler for DownloadProgress {
    fn on_progress(&self, event: &ProgressEvent) {
        let ProgressEvent::Download(event) = event else {
            return;
        };
        match event {
            DownloadEvent::Start { total_bytes, .. } => self.expect(*total_bytes, 0),
            DownloadEvent::Progress { files } => {
                self.advance(files.iter().map(|file| file.bytes_completed).sum());
            }
            DownloadEvent::AggregateProgress {
                bytes_completed, ..
            } => self.advance(*bytes_completed),
            DownloadEvent::Complete => self.bar.finish_and_clear(),
        }
    }
}

impl Drop for DownloadProgress {
    /// A failed download sends no end, and its bar must not stay on the screen.
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

const BAR: &str =
    "fetch    {msg}  {percent} % {bar:20} {bytes}/{total_bytes}  {bytes_per_sec}  {eta}";

/// Smaller files are fetched before anybody would read a line about them.
const LOGGED_FROM_BYTES: u64 = 100 * 1024 * 1024;

/// A line comes after each tenth, and at least this often.
const LOGGED_PERIOD: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{DownloadProgress, Ordering, pace};

    #[test]
    fn what_was_here_before_does_not_make_the_rest_come_sooner() {
        let elapsed = Duration::from_secs(10);
        assert_eq!(pace(1000, 500, elapsed), (100, 5));
        assert_eq!(pace(0, 500, elapsed), (0, 500));
        assert_eq!(pace(0, 0, Duration::ZERO), (0, 0));
        let progress = DownloadProgress::hidden();
        progress.expect(2000, 500);
        progress.add(700);
        progress.take_back(100);
        assert_eq!(progress.bytes(), 1100);
        assert_eq!(progress.kept_bytes.load(Ordering::Relaxed), 500);
    }
}
