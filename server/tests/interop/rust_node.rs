//! A DHT node of ours with a runtime of its own, so that it can vanish as a killed process does.

use std::time::{Duration, Instant};

use block_network::{Dht, DhtConfig, Node, NodeConfig, NodeTask, identity, unix_time};
use block_protocol::dht::{DhtId, DhtValue, StoreEntry, text_of, text_subkey};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::runtime::{Builder, Runtime};

use block_testing::PATIENCE;

#[derive(Debug)]
pub(crate) struct RustNode {
    runtime: Runtime,
    dht: Dht,
    address: String,
    _node: Node,
    _task: NodeTask,
}

/// Between two looks at a value that is awaited.
const POLL_PERIOD: Duration = Duration::from_millis(200);

impl RustNode {
    /// Joins through `initial_peers`, or begins a swarm if there is none; returns when it has joined.
    pub(crate) fn start(initial_peers: &[&str]) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let initial_peers = initial_peers
            .iter()
            .map(|address| address.parse().unwrap())
            .collect();
        let (node, task, dht, address) = runtime.block_on(async {
            let mut config = NodeConfig::new(identity::ephemeral());
            config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
            let (node, task) = Node::start(config).await.unwrap();
            let dht = Dht::start(
                node.clone(),
                DhtConfig {
                    initial_peers,
                    ..DhtConfig::default()
                },
            );
            tokio::time::timeout(PATIENCE, dht.ready())
                .await
                .expect("in time")
                .unwrap();
            let address = node.listen_addresses().await[0].to_string();
            (node, task, dht, address)
        });
        Self {
            runtime,
            dht,
            address,
            _node: node,
            _task: task,
        }
    }

    /// Where others can join through this node.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Stores one plain or subkey value; true if a node other than this one keeps it.
    pub(crate) fn store(
        &self,
        key: &str,
        subkey: Option<&str>,
        value: &Value,
        ttl: Duration,
    ) -> bool {
        let entry = StoreEntry {
            key: DhtId::of_text(key),
            subkey: subkey.map(text_subkey),
            value: Bytes::from(rmp_serde::to_vec(value).unwrap()),
            expiration: unix_time() + ttl.as_secs_f64(),
        };
        let stored = self.runtime.block_on(self.dht.store(vec![entry])).unwrap();
        stored[0].kept_by_others > 0
    }

    /// The latest value of `key` in the form in which a Python peer describes it: null,
    /// `{"value": …}` or `{"subkeys": {name: value}}`.
    pub(crate) fn get(&self, key: &str) -> Value {
        let found = self
            .runtime
            .block_on(self.dht.get(vec![DhtId::of_text(key)], true))
            .unwrap();
        let Some(record) = &found[0] else {
            return Value::Null;
        };
        match &record.value {
            DhtValue::Regular(value) => json!({ "value": decode(value) }),
            DhtValue::Dictionary(entries) => {
                let named = entries.iter().map(|(subkey, entry)| {
                    (
                        text_of(subkey)
                            .expect("subkeys of these tests are texts")
                            .to_owned(),
                        decode(&entry.value),
                    )
                });
                json!({ "subkeys": Map::from_iter(named) })
            }
        }
    }

    /// Reads `key` until it equals `expected` or patience ends; returns the last reading.
    pub(crate) fn await_value(&self, key: &str, expected: &Value) -> Value {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let found = self.get(key);
            if found == *expected || Instant::now() > give_up {
                return found;
            }
            self.runtime.block_on(async {
                tokio::time::interval_at(tokio::time::Instant::now() + POLL_PERIOD, POLL_PERIOD)
                    .tick()
                    .await
            });
        }
    }

    /// Stops every task where it stands; the system closes the sockets without a farewell.
    pub(crate) fn kill(self) {
        self.runtime.shutdown_background();
    }
}

fn decode(value: &[u8]) -> Value {
    rmp_serde::from_slice(value).unwrap()
}
