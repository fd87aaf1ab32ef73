//! What an operator sees of a download: a bar on a terminal, a log line per tenth elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};

use hf_hub::progress::{DownloadEvent, ProgressEvent, ProgressHandler};
use indicatif::{ProgressBar, ProgressStyle};
use tracing::info;

/// Follows the download of one file.
#[derive(Debug)]
pub(super) struct DownloadProgress {
    file: String,
    bar: ProgressBar,
    bytes: AtomicU64,
    total_bytes: AtomicU64,
    logged_tenths: AtomicU64,
}

impl DownloadProgress {
    pub(super) fn new(file: &str, show_bar: bool) -> Self {
        let bar = if show_bar {
            ProgressBar::no_length()
        } else {
            ProgressBar::hidden()
        };
        let style =
            ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        bar.set_message(file.to_owned());
        Self {
            file: file.to_owned(),
            bar,
            bytes: AtomicU64::new(0),
            total_bytes: AtomicU64::new(0),
            logged_tenths: AtomicU64::new(0),
        }
    }

    /// Bytes so far; changes as long as the download is alive.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn advance(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.bar.set_position(bytes);
        let total_bytes = self.total_bytes.load(Ordering::Relaxed);
        let tenths = bytes
            .saturating_mul(10)
            .checked_div(total_bytes)
            .unwrap_or(0);
        let is_large = total_bytes >= LOGGED_FROM_BYTES;
        if is_large && self.logged_tenths.fetch_max(tenths, Ordering::Relaxed) < tenths {
            let percent = tenths.saturating_mul(10);
            info!(file = self.file, bytes, total_bytes, percent, "fetching");
        }
    }
}

impl ProgressHandler for DownloadProgress {
    fn on_progress(&self, event: &ProgressEvent) {
        let ProgressEvent::Download(event) = event else {
            return;
        };
        match event {
            DownloadEvent::Start { total_bytes, .. } => {
                self.total_bytes.store(*total_bytes, Ordering::Relaxed);
                self.bar.set_length(*total_bytes);
            }
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
