//! The executions that are kept: those under way, and for a while those that have ended.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::record::Execution;
use crate::api_error::{ApiError, ErrorCode};

/// See the module's head.
#[derive(Debug)]
pub(super) struct Store {
    kept: Mutex<Kept>,
    keep: Duration,
}

#[derive(Debug, Default)]
struct Kept {
    all: HashMap<String, Arc<Execution>>,
    /// Those that have ended, the first to go in front.
    ended: VecDeque<Ended>,
    /// Of those that have ended.
    bytes: usize,
    is_swept: bool,
}

#[derive(Debug)]
struct Ended {
    id: String,
    bytes: usize,
    until: Instant,
}

impl Store {
    pub(super) fn new(keep: Duration) -> Self {
        Self {
            kept: Mutex::default(),
            keep,
        }
    }

    /// Takes in one that begins.
    ///
    /// # Errors
    /// 429: too many are under way.
    pub(super) fn add(&self, execution: &Arc<Execution>) -> Result<(), ApiError> {
        let mut kept = self.kept();
        if kept.all.len() - kept.ended.len() >= MAX_UNFINISHED {
            let text = format!("{MAX_UNFINISHED} executions are under way already");
            return Err(ApiError::new(ErrorCode::QueueFull, text).retry_after(FULL_WAIT));
        }
        kept.all.insert(execution.id.clone(), Arc::clone(execution));
        Ok(())
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<Execution>> {
        self.kept().all.get(id).cloned()
    }

    /// Whether one is under way.
    pub(super) fn is_busy(&self) -> bool {
        let kept = self.kept();
        kept.all.len() > kept.ended.len()
    }

    /// Notes that one has ended: from now on it may be forgotten.
    pub(super) fn end(self: &Arc<Self>, execution: &Execution) {
        let mut kept = self.kept();
        let bytes = execution.bytes();
        kept.bytes += bytes;
        kept.ended.push_back(Ended {
            id: execution.id.clone(),
            bytes,
            until: Instant::now() + self.keep,
        });
        while kept.ended.len() > MAX_ENDED || kept.bytes > MAX_ENDED_BYTES {
            kept.forget_first();
        }
        if !std::mem::replace(&mut kept.is_swept, true) {
            // It ends when nothing is left to forget.
            tokio::spawn(Arc::clone(self).sweep());
        }
    }

    /// Forgets each execution when its time has come.
    async fn sweep(self: Arc<Self>) {
        loop {
            let next = {
                let mut kept = self.kept();
                while let Some(first) = kept.ended.front()
                    && first.until <= Instant::now()
                {
                    kept.forget_first();
                }
                let next = kept.ended.front().map(|first| first.until);
                kept.is_swept = next.is_some();
                next
            };
            match next {
                Some(until) => sleep_until(until).await,
                None => return,
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn forget_first(&mut self) {
        if let Some(first) = self.ended.pop_front() {
            self.bytes -= first.bytes;
            self.all.remove(&first.id);
        }
    }
}

/// Executions under way: more than any door has seats and places in its queue by default.
const MAX_UNFINISHED: usize = 256;
/// When one of these may have ended.
const FULL_WAIT: Duration = Duration::from_secs(5);
/// Executions kept after their end.
const MAX_ENDED: usize = 1000;
/// What these take: 64 kB each, if there are so many.
const MAX_ENDED_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn ended(store: &Arc<Store>, number: usize, text: &str) -> Arc<Execution> {
        let id = format!("exec-{number}");
        let execution = Arc::new(Execution::new(id, "a".into(), CancellationToken::new()));
        store.add(&execution).unwrap();
        execution.begin(1);
        execution.piece(text);
        execution.complete(1);
        store.end(&execution);
        execution
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_ended_is_kept_for_its_time() {
        let store = Arc::new(Store::new(Duration::from_secs(600)));
        ended(&store, 1, "one");
        tokio::time::sleep(Duration::from_secs(400)).await;
        ended(&store, 2, "two");
        assert!(store.find("exec-1").is_some() && !store.is_busy());
        tokio::time::sleep(Duration::from_secs(201)).await;
        assert!(store.find("exec-1").is_none() && store.find("exec-2").is_some());
        tokio::time::sleep(Duration::from_secs(400)).await;
        assert!(store.find("exec-2").is_none());
        // The sweeper had ended, and begins anew.
        ended(&store, 3, "three");
        tokio::time::sleep(Duration::from_secs(601)).await;
        let kept = store.kept();
        assert_eq!((kept.all.len(), kept.bytes), (0, 0));
    }

    #[tokio::test]
    async fn neither_many_nor_large_ones_fill_the_memory() {
        let store = Arc::new(Store::new(Duration::from_secs(600)));
        for number in 0..=MAX_ENDED {
            ended(&store, number, "x");
        }
        assert_eq!(store.kept().all.len(), MAX_ENDED);
        assert!(store.find("exec-0").is_none() && store.find("exec-1").is_some());
        ended(&store, 5000, &"x".repeat(MAX_ENDED_BYTES / 2));
        ended(&store, 5001, &"x".repeat(MAX_ENDED_BYTES / 2));
        assert!(store.find("exec-5000").is_none() && store.find("exec-5001").is_some());
    }

    #[tokio::test]
    async fn so_many_are_under_way_and_no_more() {
        let store = Arc::new(Store::new(Duration::from_secs(600)));
        let begun = |number: usize| {
            let id = format!("exec-{number}");
            Arc::new(Execution::new(id, "a".into(), CancellationToken::new()))
        };
        for number in 0..MAX_UNFINISHED {
            store.add(&begun(number)).unwrap();
        }
        assert!(store.is_busy());
        let refused = store.add(&begun(MAX_UNFINISHED)).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::QueueFull);
    }
}
