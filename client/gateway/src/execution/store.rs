//! The executions that are kept: those under way, and for a while those that have ended.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::record::Execution;
use crate::api_error::{ApiError, ErrorCode};
use crate::who::NameAndNet;

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
    /// What those take that have ended, by who started them.
    shares: HashMap<NameAndNet, Share>,
    /// All of these together.
    bytes: usize,
    is_swept: bool,
}

/// Executions of one caller that have ended.
#[derive(Debug, Default, Clone, Copy)]
struct Share {
    count: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Ended {
    id: String,
    owner: NameAndNet,
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

    /// Notes that one has ended: from now on it may be forgotten. Those of its own caller make room for it; only where all
    /// callers together have too much, those of whoever has the most.
    pub(super) fn end(self: &Arc<Self>, execution: &Execution) {
        let mut kept = self.kept();
        kept.keep(Ended {
            id: execution.id.clone(),
            owner: execution.owner.clone(),
            bytes: execution.bytes(),
            until: Instant::now() + self.keep,
        });
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
    fn keep(&mut self, new: Ended) {
        let owner = new.owner.clone();
        let share = self.shares.entry(owner.clone()).or_default();
        share.count += 1;
        share.bytes += new.bytes;
        self.bytes += new.bytes;
        self.ended.push_back(new);
        while self.shares.get(&owner).is_some_and(Share::is_too_much) {
            self.forget_first_of(&owner);
        }
        while self.ended.len() > MAX_ENDED {
            self.forget_first_of_largest(|share| share.count);
        }
        while self.bytes > MAX_ENDED_BYTES {
            self.forget_first_of_largest(|share| share.bytes);
        }
    }

    fn forget_first(&mut self) {
        self.forget(0);
    }

    fn forget_first_of(&mut self, owner: &NameAndNet) {
        if let Some(place) = self.ended.iter().position(|ended| ended.owner == *owner) {
            self.forget(place);
        }
    }

    fn forget_first_of_largest(&mut self, size: impl Fn(&Share) -> usize) {
        let largest = self.shares.iter().max_by_key(|(_, share)| size(share));
        if let Some((owner, _)) = largest {
            let owner = owner.clone();
            self.forget_first_of(&owner);
        }
    }

    fn forget(&mut self, place: usize) {
        let Some(gone) = self.ended.remove(place) else {
            return;
        };
        self.all.remove(&gone.id);
        self.bytes -= gone.bytes;
        if let Some(share) = self.shares.get_mut(&gone.owner) {
            share.count -= 1;
            share.bytes -= gone.bytes;
            if share.count == 0 {
                self.shares.remove(&gone.owner);
            }
        }
    }
}

impl Share {
    const fn is_too_much(&self) -> bool {
        self.count > MAX_ENDED_OF_ONE || self.bytes > MAX_ENDED_BYTES_OF_ONE
    }
}

/// Executions under way: more than any door has seats and places in its queue by default.
const MAX_UNFINISHED: usize = 256;
/// When one of these may have ended.
const FULL_WAIT: Duration = Duration::from_secs(5);
/// Executions of one caller kept after their end: as many as four callers may have at once.
const MAX_ENDED_OF_ONE: usize = MAX_ENDED / 4;
/// What these take, in the same proportion.
const MAX_ENDED_BYTES_OF_ONE: usize = MAX_ENDED_BYTES / 4;
/// Executions kept after their end.
const MAX_ENDED: usize = 1000;
/// What these take: 64 kB each, if there are so many.
const MAX_ENDED_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn execution(owner: &str, number: usize) -> Arc<Execution> {
        let owner_and_net = (owner.into(), None);
        let id = format!("exec-{owner}-{number}");
        Arc::new(Execution::new(id, owner_and_net, CancellationToken::new()))
    }

    fn ended(store: &Arc<Store>, owner: &str, number: usize, text: &str) {
        let execution = execution(owner, number);
        store.add(&execution).unwrap();
        execution.begin(1);
        execution.piece(text);
        execution.complete(1);
        store.end(&execution);
    }

    fn is_kept(store: &Store, owner: &str, number: usize) -> bool {
        store.find(&format!("exec-{owner}-{number}")).is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_ended_is_kept_for_its_time() {
        let store = Arc::new(Store::new(Duration::from_secs(600)));
        ended(&store, "a", 1, "one");
        tokio::time::sleep(Duration::from_secs(400)).await;
        ended(&store, "a", 2, "two");
        assert!(is_kept(&store, "a", 1) && !store.is_busy());
        tokio::time::sleep(Duration::from_secs(201)).await;
        assert!(!is_kept(&store, "a", 1) && is_kept(&store, "a", 2));
        tokio::time::sleep(Duration::from_secs(400)).await;
        assert!(!is_kept(&store, "a", 2));
        // The sweeper had ended, and begins anew.
        ended(&store, "a", 3, "three");
        tokio::time::sleep(Duration::from_secs(601)).await;
        let kept = store.kept();
        assert_eq!((kept.all.len(), kept.bytes, kept.shares.len()), (0, 0, 0));
    }

    #[tokio::test]
    async fn who_has_too_many_or_too_large_ones_loses_their_own() {
        let store = Arc::new(Store::new(Duration::from_secs(600)));
        ended(&store, "a", 0, "x");
        for number in 0..=MAX_ENDED_OF_ONE {
            ended(&store, "b", number, "x");
        }
        assert_eq!(store.kept().all.len(), 1 + MAX_ENDED_OF_ONE);
        assert!(is_kept(&store, "a", 0));
        assert!(!is_kept(&store, "b", 0) && is_kept(&store, "b", 1));
        let half = "x".repeat(MAX_ENDED_BYTES_OF_ONE / 2);
        ended(&store, "b", 5000, &half);
        ended(&store, "b", 5001, &half);
        assert!(!is_kept(&store, "b", 5000) && is_kept(&store, "b", 5001));
        assert!(is_kept(&store, "a", 0));
    }

    #[tokio::test]
    async fn all_callers_together_do_not_fill_the_memory() {
        let store = Arc::new(Store::new(Duration::from_secs(600)));
        ended(&store, "modest", 0, "x");
        let callers = 2 * MAX_ENDED / MAX_ENDED_OF_ONE;
        for number in 0..MAX_ENDED_OF_ONE {
            for caller in 0..callers {
                ended(&store, &caller.to_string(), number, "x");
            }
        }
        assert_eq!(store.kept().all.len(), MAX_ENDED);
        assert!(is_kept(&store, "modest", 0));
        let large = "x".repeat(MAX_ENDED_BYTES_OF_ONE / 2);
        for caller in 0..callers {
            for number in 1000..1002 {
                ended(&store, &caller.to_string(), number, &large);
            }
        }
        assert!(store.kept().bytes <= MAX_ENDED_BYTES);
        assert!(is_kept(&store, "modest", 0));
    }

    #[tokio::test]
    async fn so_many_are_under_way_and_no_more() {
        let store = Arc::new(Store::new(Duration::from_secs(600)));
        for number in 0..MAX_UNFINISHED {
            store.add(&execution("a", number)).unwrap();
        }
        assert!(store.is_busy());
        let refused = store.add(&execution("a", MAX_UNFINISHED)).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::QueueFull);
    }
}
