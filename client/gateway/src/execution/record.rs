//! What is known of an execution: a log that everybody reads at their own pace.
//!
//! Queued → Running → Completed or Failed or Cancelled; Queued → Failed or Cancelled. What has ended stays as it is.
//! Readers keep nothing but a place in the log, so a slow one costs no memory and holds nobody up.

use std::sync::{Mutex, MutexGuard, PoisonError};

use block_client::{LocalTime, RouteStop};
use block_network::unix_time;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api_error::{ApiError, ErrorCode};
use crate::who::NameAndNet;

/// One execution.
#[derive(Debug)]
pub(super) struct Execution {
    pub(super) id: String,
    /// Who started it.
    pub(super) owner: NameAndNet,
    /// Ends its task.
    pub(super) cancelled: CancellationToken,
    log: Mutex<Log>,
    changed: watch::Sender<()>,
}

/// Where an execution is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Queued,
    Running,
    Completed,
    Failed,
    Cancelled,
}

#[derive(Debug)]
struct Log {
    state: State,
    entries: Vec<Entry>,
    /// The answer so far.
    text: String,
    prompt_tokens: usize,
    tokens: usize,
    error: Option<ApiError>,
    started_at: f64,
    ended_at: Option<f64>,
}

#[derive(Debug)]
enum Entry {
    State(State),
    Route(Vec<RouteStop>),
    /// Text from the end of the piece before to this byte.
    Piece {
        number: usize,
        start: usize,
        end: usize,
    },
    Done,
    Error,
}

impl State {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Queued => "Queued",
            Self::Running => "Running",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
        }
    }

    pub(super) fn is_end(self) -> bool {
        match self {
            Self::Queued | Self::Running => false,
            Self::Completed | Self::Failed | Self::Cancelled => true,
        }
    }
}

impl Execution {
    pub(super) fn new(id: String, owner: NameAndNet, cancelled: CancellationToken) -> Self {
        Self {
            id,
            owner,
            cancelled,
            log: Mutex::new(Log {
                state: State::Queued,
                entries: vec![Entry::State(State::Queued)],
                text: String::new(),
                prompt_tokens: 0,
                tokens: 0,
                error: None,
                started_at: unix_time(),
                ended_at: None,
            }),
            changed: watch::Sender::default(),
        }
    }

    pub(super) fn state(&self) -> State {
        self.log().state
    }

    /// Its turn has come.
    pub(super) fn begin(&self, prompt_tokens: usize) {
        self.change(|log| {
            log.prompt_tokens = prompt_tokens;
            log.enter(State::Running);
        });
    }

    /// The servers that answer, if they are others than before.
    pub(super) fn route(&self, hops: Vec<RouteStop>) {
        self.change(|log| {
            let last = log.entries.iter().rev().find_map(|entry| match entry {
                Entry::Route(hops) => Some(hops),
                Entry::State(_) | Entry::Piece { .. } | Entry::Done | Entry::Error => None,
            });
            if !hops.is_empty() && last != Some(&hops) {
                log.entries.push(Entry::Route(hops));
            }
        });
    }

    /// A piece of the answer.
    pub(super) fn piece(&self, text: &str) {
        self.change(|log| {
            let pieces = log.entries.iter();
            let number = pieces
                .rev()
                .find_map(|entry| match entry {
                    Entry::Piece { number, .. } => Some(number + 1),
                    Entry::State(_) | Entry::Route(_) | Entry::Done | Entry::Error => None,
                })
                .unwrap_or(0);
            let start = log.text.len();
            log.text += text;
            let end = log.text.len();
            log.entries.push(Entry::Piece { number, start, end });
        });
    }

    /// The answer is whole.
    pub(super) fn complete(&self, tokens: usize) {
        self.change(|log| {
            log.tokens = tokens;
            log.end(State::Completed, Entry::Done);
        });
    }

    /// There is no whole answer.
    pub(super) fn fail(&self, error: ApiError) {
        let state = match error.code() {
            ErrorCode::Cancelled => State::Cancelled,
            _ => State::Failed,
        };
        self.change(|log| {
            log.error = Some(error);
            log.end(state, Entry::Error);
        });
        self.cancelled.cancel();
    }

    /// Ends it, unless it has ended. Its state afterwards.
    pub(super) fn cancel(&self) -> State {
        self.fail(ApiError::new(
            ErrorCode::Cancelled,
            "the execution was cancelled by request",
        ));
        self.state()
    }

    /// Wakes at every change from now on.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Up to `count` messages after the first `read` of them, and whether nothing follows these.
    pub(super) fn messages(&self, read: usize, count: usize) -> (Vec<Value>, bool) {
        let log = self.log();
        let messages: Vec<Value> = log
            .entries
            .iter()
            .skip(read)
            .take(count)
            .map(|entry| log.message(entry))
            .collect();
        let is_over = log.state.is_end() && read + messages.len() >= log.entries.len();
        (messages, is_over)
    }

    /// What `/execution/status` says.
    pub(super) fn status(&self) -> Value {
        let log = self.log();
        let is_whole = log.state == State::Completed;
        json!({
            "id": self.id,
            "state": log.state.name(),
            "result": is_whole.then_some(&log.text),
            "error": log.error.as_ref().map(|error| error.body()["error"].take()),
            "start_time": rfc3339(log.started_at),
            "end_time": log.ended_at.map(rfc3339),
            "tokens": is_whole.then_some(log.tokens),
        })
    }

    /// What it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let log = self.log();
        log.text.capacity() + log.entries.capacity() * size_of::<Entry>()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the log, unless the execution has ended, and tells its readers.
    fn change(&self, change: impl FnOnce(&mut Log)) {
        let mut log = self.log();
        if log.state.is_end() {
            return;
        }
        change(&mut log);
        drop(log);
        self.changed.send_replace(());
    }
}

impl Log {
    fn enter(&mut self, state: State) {
        self.state = state;
        self.entries.push(Entry::State(state));
    }

    fn end(&mut self, state: State, last: Entry) {
        self.enter(state);
        self.entries.push(last);
        self.ended_at = Some(unix_time());
        self.entries.shrink_to_fit();
        self.text.shrink_to_fit();
    }

    fn message(&self, entry: &Entry) -> Value {
        match entry {
            Entry::State(state) => json!({ "type": "state", "state": state.name() }),
            Entry::Route(hops) => {
                let hops = hops.iter().map(|stop| {
                    json!({
                        "peer": stop.peer.to_string(),
                        "blocks": format!("{}:{}", stop.blocks.start, stop.blocks.end),
                    })
                });
                json!({ "type": "route", "hops": hops.collect::<Vec<_>>() })
            }
            Entry::Piece { number, start, end } => {
                json!({ "type": "token", "text": self.text[*start..*end], "index": number })
            }
            Entry::Done => json!({
                "type": "done",
                "result": self.text,
                "usage": {
                    "prompt_tokens": self.prompt_tokens,
                    "completion_tokens": self.tokens,
                    "total_tokens": self.prompt_tokens + self.tokens,
                },
            }),
            Entry::Error => {
                let mut error = self.error.as_ref().map(ApiError::body);
                let error = error.as_mut().map(|body| body["error"].take());
                json!({ "type": "error", "error": error })
            }
        }
    }
}

/// A Unix time by RFC 3339, in UTC, to the second.
fn rfc3339(unix: f64) -> String {
    LocalTime::in_greenwich(unix).strftime("%Y-%m-%dT%H:%M:%SZ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn execution() -> Execution {
        Execution::new(
            "exec-1".to_owned(),
            ("a".into(), None),
            CancellationToken::new(),
        )
    }

    #[test]
    fn whoever_comes_late_reads_the_same_messages() {
        let execution = execution();
        let changed = execution.subscribe();
        execution.begin(3);
        execution.piece("Once");
        execution.piece(" upon ö");
        let (early, is_over) = execution.messages(0, 100);
        assert!(!is_over && changed.has_changed().unwrap());
        execution.complete(4);
        let (late, is_over) = execution.messages(0, 100);
        assert!(is_over);
        assert_eq!(late[..early.len()], early);
        assert_eq!(
            late,
            [
                json!({ "type": "state", "state": "Queued" }),
                json!({ "type": "state", "state": "Running" }),
                json!({ "type": "token", "text": "Once", "index": 0 }),
                json!({ "type": "token", "text": " upon ö", "index": 1 }),
                json!({ "type": "state", "state": "Completed" }),
                json!({
                    "type": "done",
                    "result": "Once upon ö",
                    "usage": { "prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7 },
                }),
            ]
        );
        let (two, is_over) = execution.messages(3, 2);
        assert_eq!((two.as_slice(), is_over), (&late[3..5], false));
        assert!(execution.messages(late.len(), 2).1);
    }

    #[test]
    fn times_are_those_of_rfc_3339() {
        assert_eq!(rfc3339(951_868_799.9), "2000-02-29T23:59:59Z");
    }

    #[test]
    fn what_has_ended_stays_as_it_is() {
        let cancelled = execution();
        cancelled.begin(1);
        assert_eq!(cancelled.cancel(), State::Cancelled);
        assert!(cancelled.cancelled.is_cancelled());
        cancelled.piece("more");
        cancelled.complete(1);
        assert_eq!(cancelled.cancel(), State::Cancelled);
        let status = cancelled.status();
        assert_eq!(status["error"]["code"], "cancelled");
        assert_eq!(
            (&status["result"], &status["tokens"]),
            (&Value::Null, &Value::Null)
        );

        let completed = execution();
        completed.begin(1);
        completed.piece("x");
        completed.complete(1);
        assert_eq!(completed.cancel(), State::Completed);
        assert_eq!(completed.status()["result"], "x");

        let failed = execution();
        failed.fail(ApiError::new(ErrorCode::RouteLost, "gone"));
        assert_eq!(failed.cancel(), State::Failed);
        let (messages, is_over) = failed.messages(0, 9);
        assert!(is_over);
        assert_eq!(messages[2]["error"]["code"], "route_lost");
    }
}
