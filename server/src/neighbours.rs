//! How far the servers are where a route could go on from here.
//!
//! Each period the task reads the records of the model's blocks and pings servers
//! where a route could go on from here: up to five at the block after the span, up to
//! five that begin inside it. The figures travel in our record for clients' routing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use block_network::{CallError, Node, PeerId};
use block_program::swarm_metrics;
use block_protocol::Rpc;
use block_protocol::dht::{DhtRequest, PingRequest};
use rand::seq::IndexedRandom;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::records::Records;
use crate::servers::Servers;

/// Seconds to servers by peer id in base58; infinite for one that does not answer.
pub(crate) type NextPings = BTreeMap<String, f64>;

/// Whom to ping: at most [`MAX_PINGS_PER_GROUP`] of each group, chosen at random.
fn ping_candidates(servers: &Servers, own: &str, own_blocks: &Range<usize>) -> BTreeSet<String> {
    let group = |is_in: &dyn Fn(&Range<usize>) -> bool| -> Vec<&str> {
        servers
            .online_except(own)
            .filter(|(_, span)| is_in(span))
            .map(|(peer_id, _)| peer_id)
            .collect()
    };
    let next = group(&|span| span.contains(&own_blocks.end));
    let inner =
        group(&|span| (own_blocks.start + 1..own_blocks.end).any(|block| span.contains(&block)));
    let mut random = rand::rng();
    [next, inner]
        .iter()
        .flat_map(|group| group.sample(&mut random, MAX_PINGS_PER_GROUP))
        .map(|peer_id| (*peer_id).to_owned())
        .collect()
}

/// Smoothed ping times. Pure: time comes in.
#[derive(Debug, Default)]
struct PingTimes(BTreeMap<String, (f64, Instant)>);

impl PingTimes {
    /// Petals' smoothing; an infinite time replaces, and is replaced, at once.
    fn record(&mut self, peer_id: String, seconds: f64, now: Instant) {
        let old = self
            .0
            .get(&peer_id)
            .map(|(seconds, _)| *seconds)
            .filter(|seconds| seconds.is_finite());
        let smoothed = match old {
            Some(old) if seconds.is_finite() => SMOOTHING * seconds + (1.0 - SMOOTHING) * old,
            _ => seconds,
        };
        self.0.insert(peer_id, (smoothed, now));
    }

    /// Times that are fresh at `now`.
    fn fresh(&mut self, now: Instant) -> NextPings {
        self.0
            .retain(|_, (_, measured)| now.duration_since(*measured) < PING_LIFE);
        self.0
            .iter()
            .map(|(peer_id, (seconds, _))| (peer_id.clone(), *seconds))
            .collect()
    }
}

/// Handle and owner of the pinging task.
#[derive(Debug)]
pub(crate) struct Pinger(JoinHandle<()>);

impl Pinger {
    /// Starts pinging for a server of `blocks` out of `num_blocks` under `prefix`; the receiver always holds the last round's figures.
    pub(crate) fn start(
        node: Node,
        records: impl Records,
        (prefix, num_blocks, blocks): (String, usize, Range<usize>),
        period: Duration,
    ) -> (Self, watch::Receiver<NextPings>) {
        let (sender, receiver) = watch::channel(NextPings::new());
        let task = tokio::spawn(async move {
            let own = node.peer_id().to_string();
            let mut times = PingTimes::default();
            let mut ticks = tokio::time::interval(period);
            loop {
                ticks.tick().await;
                let servers = Servers::read(&records, &prefix, num_blocks).await;
                let candidates = ping_candidates(&servers, &own, &blocks);
                for (peer_id, seconds) in ping_all(&node, candidates).await {
                    times.record(peer_id, seconds, Instant::now());
                }
                sender.send_replace(times.fresh(Instant::now()));
            }
        });
        (Self(task), receiver)
    }
}

impl Drop for Pinger {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn ping_all(node: &Node, peer_ids: BTreeSet<String>) -> Vec<(String, f64)> {
    let mut pings = JoinSet::new();
    for peer_id in peer_ids {
        // The subkey of a record is what its author wrote, perhaps no peer id at all.
        let Ok(peer) = peer_id.parse::<PeerId>() else {
            continue;
        };
        let node = node.clone();
        pings.spawn(async move { (peer_id, ping(&node, peer).await) });
    }
    pings.join_all().await
}

/// Seconds for one `rpc_ping`; infinite if there is no answer.
async fn ping(node: &Node, peer: PeerId) -> f64 {
    let request = DhtRequest::Ping(PingRequest {
        node_id: None,
        validate: false,
    });
    let started = Instant::now();
    match node
        .call(peer, Rpc::DhtPing.name(), request.encode(), PING_TIMEOUT)
        .await
    {
        // A server in client mode does not serve the DHT, but it answered.
        Ok(_) | Err(CallError::NotSupported) => {
            let seconds = started.elapsed().as_secs_f64();
            swarm_metrics::record_ping(seconds);
            seconds
        }
        Err(_) => f64::INFINITY,
    }
}

/// Petals' numbers: pings of each group, wait, weight of the newest figure, its life.
const MAX_PINGS_PER_GROUP: usize = 5;
const PING_TIMEOUT: Duration = Duration::from_secs(5);
const SMOOTHING: f64 = 0.2;
const PING_LIFE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use block_protocol::ServerState;

    use super::*;

    #[test]
    fn pinged_are_those_where_a_route_can_go_on() {
        let many: Vec<(String, Range<usize>)> =
            (0..20).map(|i| (format!("next{i}"), 4..8)).collect();
        let mut entries: Vec<_> = many
            .iter()
            .map(|(id, span)| (id.as_str(), ServerState::Online, span.clone()))
            .collect();
        entries.push(("before", ServerState::Online, 0..1));
        entries.push(("inside", ServerState::Online, 2..3));
        entries.push(("joining", ServerState::Joining, 4..8));
        entries.push(("own", ServerState::Online, 0..4));
        let chosen = ping_candidates(&Servers::made_up(&entries), "own", &(0..4));
        assert!(chosen.contains("inside"));
        assert!(
            !chosen.contains("before") && !chosen.contains("joining") && !chosen.contains("own")
        );
        assert_eq!(chosen.len(), 1 + MAX_PINGS_PER_GROUP);
    }

    #[tokio::test(start_paused = true)]
    async fn ping_times_are_smoothed_and_forgotten() {
        let mut times = PingTimes::default();
        times.record("a".into(), 1.0, Instant::now());
        times.record("a".into(), 2.0, Instant::now());
        assert!((times.fresh(Instant::now())["a"] - 1.2).abs() < 1e-9);
        times.record("a".into(), f64::INFINITY, Instant::now());
        assert_eq!(times.fresh(Instant::now())["a"], f64::INFINITY);
        times.record("a".into(), 3.0, Instant::now());
        assert_eq!(times.fresh(Instant::now())["a"], 3.0);
        tokio::time::advance(PING_LIFE).await;
        assert!(times.fresh(Instant::now()).is_empty());
    }
}
