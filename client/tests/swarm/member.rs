//! A server as the DHT sees it: a member that announces records. It serves no blocks.

use std::ops::Range;
use std::time::Duration;

use block_network::{
    Dht, DhtConfig, Multiaddr, Node, NodeConfig, NodeTask, identity, subkey_entry, unix_time,
};
use block_protocol::dht::StoreEntry;
use block_protocol::model_record::MODELS_KEY;
use block_protocol::{ModelRecord, ServerInfo, ServerRecord, ServerState, Span};

/// More than any step of any test takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const PREFIX: &str = "toy-hf";
pub(crate) const BLOCKS: usize = 8;

pub(crate) struct Member {
    pub(crate) node: Node,
    pub(crate) address: Multiaddr,
    dht: Dht,
    _task: NodeTask,
}

impl Member {
    /// Starts one that joins by `initial_peers`, or begins a swarm.
    pub(crate) async fn start(initial_peers: &[Multiaddr]) -> Self {
        let config = NodeConfig {
            listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
            ..NodeConfig::new(identity::ephemeral())
        };
        let (node, task) = Node::start(config).await.unwrap();
        let config = DhtConfig {
            initial_peers: initial_peers.to_vec(),
            ..DhtConfig::default()
        };
        let dht = Dht::start(node.clone(), config);
        soon("the join", dht.ready()).await.unwrap();
        let address = node.listen_addresses().await.remove(0);
        Self {
            node,
            address,
            dht,
            _task: task,
        }
    }

    /// Announces `blocks` for `life`.
    pub(crate) async fn announce(&self, state: ServerState, blocks: Range<usize>, life: Duration) {
        let record = ServerRecord {
            state,
            throughput: 10.0,
            info: ServerInfo {
                span: Some(Span::new(blocks.start, blocks.end).unwrap()),
                inference_rps: Some(100.0),
                ..ServerInfo::default()
            },
        };
        let value = bytes::Bytes::from(record.encode().unwrap());
        let expiration = unix_time() + life.as_secs_f64();
        let own = self.node.peer_id().to_string();
        let entries = blocks.map(|block| {
            subkey_entry(
                &format!("{PREFIX}.{block}"),
                &own,
                value.clone(),
                expiration,
            )
        });
        self.store(entries.collect()).await;
    }

    /// Lists the model.
    pub(crate) async fn list_model(&self) {
        let record = ModelRecord {
            num_blocks: BLOCKS,
            repository: None,
        };
        let value = record.encode().unwrap().into();
        let expiration = unix_time() + 300.0;
        let entry = subkey_entry(MODELS_KEY, PREFIX, value, expiration);
        self.store(vec![entry]).await;
    }

    async fn store(&self, entries: Vec<StoreEntry>) {
        soon("storing", self.dht.announce(entries)).await.unwrap();
    }
}

/// Fails the test if `future` takes longer than [`PATIENCE`].
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("gave up waiting for: {what}"),
    }
}

/// Looks until `condition` holds.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    soon(what, async {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        while !condition() {
            looks.tick().await;
        }
    })
    .await;
}
