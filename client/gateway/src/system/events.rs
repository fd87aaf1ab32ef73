//! `GET /v1/system/events`: the topology, and then what changes.
//!
//! | event | data |
//! |---|---|
//! | `topology` | all of it, as `/v1/system/topology` has it; first, and when models come or go |
//! | `server` | `{"model","server":{…},"removed":false}`: a server that came, changed or (`true`) went |
//! | `model` | `{"model","state","covered","missing","bottleneck"}` when they change |
//! | `route` | the account of an answer that has ended: see [`Accounts`] |

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream, StreamExt};
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use super::changes::{self, Change};
use super::watch::{Seen, Watch};
use super::{System, Topology, json_of};
use crate::who::Who;

/// Accounts of answers that have ended, on their way to subscribers. Cheap to clone; nobody waits for anybody.
#[derive(Debug, Clone)]
pub struct Accounts(broadcast::Sender<Arc<Value>>);

impl Default for Accounts {
    fn default() -> Self {
        Self(broadcast::Sender::new(MAX_ACCOUNTS))
    }
}

impl Accounts {
    /// Tells all subscribers of an answer: `id`, and what the key `swarm` of the answer itself has (`route`, `ttft_ms`,
    /// `tokens_per_second`, `failovers`). No text belongs here.
    pub fn publish(&self, account: Value) {
        // An error means that nobody listens.
        let _ = self.0.send(Arc::new(account));
    }
}

/// One subscriber: what it knows, and where the newest is.
struct Subscriber {
    newest: watch::Receiver<Option<Seen>>,
    known: Option<Arc<Topology>>,
    accounts: broadcast::Receiver<Arc<Value>>,
    /// The looking goes on as long as somebody listens.
    _watch: Arc<Watch>,
}

pub(super) async fn stream(State(system): State<System>, who: Who) -> Response {
    let subscriber = Subscriber {
        newest: system.watch.subscribe(),
        known: None,
        accounts: system.accounts.0.subscribe(),
        _watch: system.watch,
    };
    let alive = KeepAlive::new().interval(PING_PERIOD).text("ping");
    // Whoever asks again is told why.
    let events = events(subscriber).take_until(async move { who.revoked().await });
    let events = Sse::new(events).keep_alive(alive);
    let headers = [
        (header::CACHE_CONTROL, "no-cache"),
        // Proxies would collect events before they pass them on.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, events).into_response()
}

fn events(subscriber: Subscriber) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(subscriber, |mut subscriber| async move {
        let events = subscriber.next().await?;
        Some((stream::iter(events.into_iter().map(Ok)), subscriber))
    })
    .flatten()
}

impl Subscriber {
    /// What is new since it was asked last; waits until something is. `None`: nothing will be.
    async fn next(&mut self) -> Option<Vec<Event>> {
        loop {
            let seen = self.newest.borrow_and_update().clone();
            if let Some(seen) = seen {
                let known = self.known.replace(Arc::clone(&seen.topology));
                let events = news(known.as_deref(), &seen);
                if !events.is_empty() {
                    return Some(events);
                }
            }
            tokio::select! {
                changed = self.newest.changed() => changed.ok()?,
                account = self.accounts.recv() => match account {
                    Ok(account) => {
                        let data = account.to_string();
                        return Some(vec![Event::default().event("route").data(data)]);
                    }
                    // Who reads slowly misses some.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }
}

fn news(known: Option<&Topology>, seen: &Seen) -> Vec<Event> {
    let changes = match known {
        None => vec![Change::Topology],
        Some(known) if std::ptr::eq(known, &*seen.topology) => Vec::new(),
        Some(known) => changes::between(known, &seen.topology),
    };
    let events = changes.iter().map(|change| {
        let body = match change {
            Change::Topology => json_of(&seen.stamped()),
            Change::Server { .. } | Change::Model { .. } => json_of(change),
        };
        Event::default().event(change.name()).data(body.to_string())
    });
    events.collect()
}

/// Accounts that wait for a slow subscriber: newer ones push older ones out.
const MAX_ACCOUNTS: usize = 64;
/// How often something is sent at least, so that no proxy takes the stream for dead.
const PING_PERIOD: Duration = Duration::from_secs(15);
