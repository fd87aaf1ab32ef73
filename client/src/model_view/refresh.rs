//! The task that keeps a view up to date.
//!
//! Owner: the view's handles; aborted with the last. Inboxes: the clock, wishes for an earlier reading, ended pings. Ends
//! otherwise never: a DHT that cannot be read is asked again at the next time.

use std::sync::Arc;
use std::time::Duration;

use block_network::{CallError, Dht, DhtError, Node, PeerId, unix_time};
use block_protocol::Rpc;
use block_protocol::dht::{DhtRequest, PingRequest};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::Shared;
use crate::metrics::{self, RefreshOutcome};
use crate::swarm_view::Reading;

/// Servers pinged of each group per reading. Petals' figure.
const MAX_PINGED: usize = 3;
/// How long a ping may take, connecting included. Petals' figure.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// Calls per ping, of which the quicker counts: the first one on a new connection waits for other things, too.
const CALLS_PER_PING: usize = 2;
/// A new view is ready after its first pings, or this long after its first reading: a dead server must not delay every
/// start by the whole wait for its answer.
const FIRST_PINGS: Duration = Duration::from_millis(500);
/// Readings are at least so far apart, however much they are wished for.
const MIN_PERIOD: Duration = Duration::from_secs(1);

type Pings = JoinSet<(PeerId, Option<Duration>)>;

pub(super) async fn run(node: Node, dht: Dht, shared: Arc<Shared>, period: Duration) {
    let keys: Vec<_> = (0..shared.num_blocks)
        .map(|block| format!("{}.{block}", shared.dht_prefix))
        .collect();
    let mut last = Reading::default();
    let mut pings = Pings::new();
    loop {
        let began = Instant::now();
        last = refresh(&dht, &keys, last, &shared).await;
        // Those of the last round have ended long ago, by their timeout.
        for peer in shared.state().ping_candidates(MAX_PINGED) {
            let node = node.clone();
            pings.spawn(async move { (peer, ping(&node, peer).await) });
        }
        let earliest = began + MIN_PERIOD;
        let mut next = began + period.max(MIN_PERIOD);
        let patience = Instant::now() + FIRST_PINGS;
        loop {
            let is_waiting = !*shared.is_ready.borrow();
            if is_waiting && pings.is_empty() && shared.has_read() {
                shared.is_ready.send_replace(true);
                continue;
            }
            tokio::select! {
                () = sleep_until(next) => break,
                () = shared.wanted.notified() => next = next.min(earliest),
                Some(ended) = pings.join_next() => match ended {
                    Ok((peer, answer)) => {
                        shared.state().pinged(peer, answer, Instant::now().into_std());
                    }
                    Err(error) => tracing::error!(%error, "a ping panicked"),
                },
                () = sleep_until(patience), if is_waiting && shared.has_read() => {
                    shared.is_ready.send_replace(true);
                }
            }
        }
    }
}

impl Shared {
    fn has_read(&self) -> bool {
        self.state().has_read()
    }
}

/// Reads the records once and tells the view; returns what is now known.
async fn refresh(dht: &Dht, keys: &[String], last: Reading, shared: &Shared) -> Reading {
    let began = Instant::now();
    let found = read(dht, keys).await;
    let now = unix_time();
    let outcome = match &found {
        Ok(_) => RefreshOutcome::Ok,
        Err(_) => RefreshOutcome::Error,
    };
    metrics::record_refresh(outcome, began.elapsed());
    let instant = Instant::now().into_std();
    let reading = match found {
        Ok(mut reading) => {
            reading.keep_from(last, now);
            shared.state().replace(&reading.records(), instant);
            reading
        }
        Err(error) => {
            tracing::warn!(prefix = shared.dht_prefix, %error, "the records cannot be read");
            let mut reading = Reading::default();
            reading.keep_from(last, now);
            let mut state = shared.state();
            state.reading_failed(&reading.records(), error.to_string(), instant);
            reading
        }
    };
    shared.refreshes.send_modify(|count| *count += 1);
    reading
}

async fn read(dht: &Dht, keys: &[String]) -> Result<Reading, DhtError> {
    let found = dht.dictionaries(keys).await?;
    let now = unix_time();
    let mut reading = Reading::default();
    for (block, dictionary) in found.iter().enumerate() {
        reading.add(block, dictionary, now);
    }
    Ok(reading)
}

/// The round trip to a server; `None` if there was no answer in time.
async fn ping(node: &Node, peer: PeerId) -> Option<Duration> {
    let mut quickest = None;
    let calls = async {
        if node.connect(peer).await.is_err() {
            return;
        }
        let request = DhtRequest::Ping(PingRequest {
            node_id: None,
            validate: false,
        });
        for _ in 0..CALLS_PER_PING {
            let began = Instant::now();
            let rpc = Rpc::DhtPing.name();
            match node.call(peer, rpc, request.encode(), PING_TIMEOUT).await {
                // A server in client mode does not serve the DHT, but it answered.
                Ok(_) | Err(CallError::NotSupported) => {
                    let took = began.elapsed();
                    quickest = Some(quickest.map_or(took, |best| took.min(best)));
                }
                Err(_) => return,
            }
        }
    };
    // What was measured before the time was over still counts.
    let _ = timeout(PING_TIMEOUT, calls).await;
    match quickest {
        Some(round_trip) => metrics::record_ping(round_trip),
        None => tracing::debug!(%peer, "no answer to a ping"),
    }
    quickest
}
