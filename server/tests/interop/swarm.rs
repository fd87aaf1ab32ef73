//! The swarm in which Petals clients generate: a Python bootstrap node and one chain of servers for
//! each way to cut a model, told apart by their DHT prefixes.

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::chains::{Chain, Hop, PLANS, Plan, Prepared, Server, Starting};
use block_testing::{BlockServer, PATIENCE, PythonPeer, Role, temporary};

/// Started by the first test that asks for it.
pub(crate) static SWARM: LazyLock<Swarm> = LazyLock::new(Swarm::start);

#[derive(Debug)]
pub(crate) struct Swarm {
    /// A Petals client connected to every chain.
    pub(crate) client: PythonPeer,
    /// Another one, connected to `fable-two` only.
    pub(crate) second_client: PythonPeer,
    /// Reads the DHT as the health monitor does.
    pub(crate) monitor: PythonPeer,
    /// The address of the bootstrap node.
    pub(crate) bootstrap: String,
    chains: Vec<Chain>,
    _bootstrap: PythonPeer,
}

/// The smallest number of DHT nodes with which a lost call cannot split a swarm for good.
const MIN_DHT_NODES: usize = 3;

impl Swarm {
    fn start() -> Self {
        let bootstrap = PythonPeer::spawn("bootstrap", Role::Dht);
        let client = PythonPeer::spawn("client", Role::Client);
        let second_client = PythonPeer::spawn("second-client", Role::Client);
        let monitor = PythonPeer::spawn("monitor", Role::Monitor);
        let prepared: Vec<Prepared> = PLANS.iter().map(Plan::prepare).collect();

        client.await_ready();
        let random = temporary("random-model");
        client.call::<()>("make_model", json!({ "folder": random }));
        bootstrap.await_ready();
        let joined: Value = bootstrap.call(
            "start",
            json!({ "initial_peers": [], "reachability": true }),
        );
        let address = joined["addresses"][0].as_str().unwrap().to_owned();

        // All start before the first is awaited: they load side by side.
        let starting: Vec<Starting> = prepared
            .into_iter()
            .map(|chain| chain.start(&random, &address))
            .collect();
        let chains: Vec<Chain> = starting.into_iter().map(Starting::await_online).collect();
        let nodes = 1 + chains.iter().map(|chain| chain.hops.len()).sum::<usize>();
        assert!(nodes >= MIN_DHT_NODES, "only {nodes} DHT nodes");

        second_client.await_ready();
        monitor.await_ready();
        let watching = monitor.begin("start", json!({ "initial_peers": [address] }));
        for chain in &chains {
            chain.open(&client, &address);
            if chain.prefix == "fable-two" {
                chain.open(&second_client, &address);
            }
        }
        watching.wait::<()>();
        Self {
            client,
            second_client,
            monitor,
            bootstrap: address,
            chains,
            _bootstrap: bootstrap,
        }
    }

    /// The chain with this prefix.
    pub(crate) fn chain(&self, prefix: &str) -> &Chain {
        self.chains
            .iter()
            .find(|chain| chain.prefix == prefix)
            .expect("one of PLANS")
    }

    /// Every server of ours, with its chain.
    pub(crate) fn our_hops(&self) -> impl Iterator<Item = (&Chain, &Hop, &BlockServer)> {
        self.chains.iter().flat_map(|chain| {
            chain.hops.iter().filter_map(move |hop| match &hop.server {
                Server::Ours(server) => Some((chain, hop, server)),
                Server::Petals(_) => None,
            })
        })
    }
}

impl Chain {
    fn open(&self, client: &PythonPeer, bootstrap: &str) {
        let arguments =
            json!({ "model": self.model, "prefix": self.prefix, "initial_peers": [bootstrap] });
        client.call::<Value>("open", arguments);
        let route: Vec<(String, u32, u32)> = client.call(
            "route",
            json!({ "prefix": self.prefix, "servers": self.hops.len(), "patience_s": PATIENCE.as_secs() / 2 }),
        );
        let planned: Vec<_> = self
            .hops
            .iter()
            .map(|hop| (hop.contact.peer_id.clone(), hop.blocks.0, hop.blocks.1))
            .collect();
        assert_eq!(route, planned, "the client's route over {}", self.prefix);
    }
}
