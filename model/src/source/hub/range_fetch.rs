//! Bytes of one file from the hub into its partial file, a few requests at a time.
//!
//! What arrives is written at once and never collected. An answer that is cut is asked for again from
//! where it ended.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::time::Instant;

use futures::{StreamExt, TryStreamExt, stream};
use hf_hub::repository::download::HFByteStream;

use super::client::{HubClient, pause, silence};
use super::failure::{self, Failure, Subject};
use super::partial_file::{HeldFile, write_at};
use super::patience::Patience;
use super::range_set::RangeSet;
use crate::error::HubError;
use crate::source::download_progress::DownloadProgress;

/// Why bytes did not come.
#[derive(Debug)]
pub(super) enum RangeError {
    /// The hub, or the disk.
    Hub(HubError),
    /// The hub sends whole files whatever is asked for.
    Ignored,
}

/// One file whose bytes are fetched.
#[derive(Debug)]
pub(super) struct RangeFetch<'a> {
    client: &'a HubClient<'a>,
    commit: &'a str,
    file: &'a str,
    progress: &'a DownloadProgress,
    held: RefCell<&'a mut HeldFile>,
    /// Start and end of what was written and is not in the journal yet, one per request.
    written: RefCell<BTreeMap<u64, u64>>,
}

/// Why one answer ended early.
enum Ended {
    Failed(Failure),
    Ignored,
}

impl From<Ended> for RangeError {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Failed(failure) => Self::Hub(failure.error),
            Ended::Ignored => Self::Ignored,
        }
    }
}

impl<'a> RangeFetch<'a> {
    pub(super) fn new(
        client: &'a HubClient<'a>,
        commit: &'a str,
        file: &'a str,
        held: &'a mut HeldFile,
        progress: &'a DownloadProgress,
    ) -> Self {
        Self {
            client,
            commit,
            file,
            progress,
            held: RefCell::new(held),
            written: RefCell::default(),
        }
    }

    /// Fetches the bytes of `wanted` that are not there, in requests of at most `longest` bytes.
    /// What has come is kept whatever happens.
    ///
    /// # Errors
    /// Whatever ends the first request that fails for good.
    pub(super) async fn run(&self, wanted: &RangeSet, longest: u64) -> Result<(), RangeError> {
        let requests = {
            let held = self.held.borrow();
            let missing = wanted.without(held.complete());
            missing.requests(held.complete(), longest)
        };
        let fetched = stream::iter(requests.into_iter().map(Ok))
            .try_for_each_concurrent(REQUESTS_AT_ONCE, |request| self.fetch(request))
            .await;
        let left: Vec<u64> = self.written.borrow().keys().copied().collect();
        for start in left {
            self.note(start).await.map_err(RangeError::from)?;
        }
        fetched
    }

    async fn fetch(&self, request: Range<u64>) -> Result<(), RangeError> {
        let mut start = request.start;
        let mut patience = Patience::new(self.client.patience(), Instant::now());
        while start < request.end {
            let (end, outcome) = self.answer(start..request.end).await;
            match outcome {
                Ok(()) => {}
                Err(Ended::Ignored) => return Err(RangeError::Ignored),
                Err(Ended::Failed(failure)) => {
                    if end - start >= PROGRESS_BYTES {
                        patience.progressed(Instant::now());
                    }
                    pause(&mut patience, failure)
                        .await
                        .map_err(RangeError::Hub)?;
                }
            }
            start = end;
        }
        Ok(())
    }

    /// Takes one answer; returns where the bytes end that can be relied on.
    async fn answer(&self, range: Range<u64>) -> (u64, Result<(), Ended>) {
        let opening = self.client.stream(self.commit, self.file, range.clone());
        let (length, chunks) = match opening.await {
            Ok(opened) => opened,
            Err(failure) => return (range.start, Err(Ended::Failed(failure))),
        };
        // An answer of this length has the bytes asked for. One that claims the length of the whole
        // file, or none, has them if it ends where it should.
        let is_range = length == Some(range.end - range.start);
        let mut end = range.start;
        let outcome = self.take(&range, &mut end, chunks, is_range).await;
        if is_range || outcome.is_ok() {
            return (end, outcome);
        }
        self.progress.take_back(end - range.start);
        (range.start, outcome)
    }

    /// Writes an answer as it comes; `end` is where it has come to. Once `is_range`, what has come is
    /// kept though the answer be cut.
    async fn take(
        &self,
        range: &Range<u64>,
        end: &mut u64,
        mut chunks: HFByteStream,
        is_range: bool,
    ) -> Result<(), Ended> {
        let mut start = range.start;
        loop {
            let chunk = match tokio::time::timeout(self.client.deadline(), chunks.next()).await {
                Ok(Some(Ok(chunk))) => chunk,
                Ok(Some(Err(error))) => return Err(Ended::Failed(self.subject().failed(error))),
                Ok(None) if *end == range.end => break,
                Ok(None) => return Err(self.cut("the answer ended early")),
                Err(_) => return Err(self.cut(&silence(self.client.deadline()))),
            };
            let bytes = chunk.len() as u64;
            if bytes > range.end - *end {
                return Err(Ended::Ignored);
            }
            write_at(&self.held.borrow().file(), *end, &chunk).map_err(|error| self.full(error))?;
            *end += bytes;
            self.progress.add(bytes);
            if is_range {
                self.written.borrow_mut().insert(start, *end);
                if *end - start >= NOTED_BYTES {
                    self.note(start).await?;
                    start = *end;
                }
            }
        }
        self.written.borrow_mut().insert(start, *end);
        self.note(start).await
    }

    /// Enters in the journal what was written from `start` on, once it is on the disk.
    async fn note(&self, start: u64) -> Result<(), Ended> {
        let file = self.held.borrow().file();
        let synced = tokio::task::spawn_blocking(move || file.sync_data()).await;
        synced
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|error| self.full(error))?;
        if let Some(end) = self.written.borrow_mut().remove(&start) {
            let noted = self.held.borrow_mut().note(start..end);
            noted.map_err(|error| self.full(error))?;
        }
        Ok(())
    }

    fn subject(&self) -> Subject<'_> {
        self.client.subject(self.commit, self.file)
    }

    fn cut(&self, detail: &str) -> Ended {
        Ended::Failed(self.subject().interrupted(detail.to_owned()))
    }

    fn full(&self, error: io::Error) -> Ended {
        let path = self.held.borrow().path().to_owned();
        Ended::Failed(Failure::for_good(failure::disk(path, error)))
    }
}

/// Enough to hide the pauses between requests, and few enough for a hub that counts them.
const REQUESTS_AT_ONCE: usize = 4;

/// Bytes between two lines of the journal: what a process that is killed fetches again, per request.
/// A disk that takes these in a millisecond is not kept waiting by them.
const NOTED_BYTES: u64 = 1024 * 1024;

/// An answer with fewer bytes is no sign that the hub is well.
const PROGRESS_BYTES: u64 = 64 * 1024;
