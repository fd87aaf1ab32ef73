//! The swarm in which Petals clients generate: a Python bootstrap node and one chain of servers for
//! each way to cut a model, told apart by their DHT prefixes.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::support::{BlockServer, Contact, PATIENCE, PythonPeer, Role, repository, temporary};

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

/// Servers that together hold every block of a model.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) prefix: &'static str,
    pub(crate) model: PathBuf,
    pub(crate) vocabulary: u32,
    pub(crate) hops: Vec<Hop>,
}

#[derive(Debug)]
pub(crate) struct Hop {
    pub(crate) server: Server,
    pub(crate) contact: Contact,
    /// Half-open, absolute.
    pub(crate) blocks: (u32, u32),
}

#[derive(Debug)]
pub(crate) enum Server {
    Ours(BlockServer),
    Petals(PythonPeer),
}

/// The smallest number of DHT nodes with which a lost call cannot split a swarm for good.
const MIN_DHT_NODES: usize = 3;

#[derive(Clone, Copy, PartialEq)]
enum Model {
    Fable,
    Random,
}

#[derive(Clone, Copy)]
enum Plan {
    Ours(u32, u32),
    Petals(u32, u32),
}

const PLANS: [(&str, Model, &[Plan]); 9] = [
    ("fable-one", Model::Fable, &[Plan::Ours(0, 8)]),
    (
        "fable-two",
        Model::Fable,
        &[Plan::Ours(0, 5), Plan::Ours(5, 8)],
    ),
    (
        "fable-three",
        Model::Fable,
        &[Plan::Ours(0, 1), Plan::Ours(1, 6), Plan::Ours(6, 8)],
    ),
    ("random-one", Model::Random, &[Plan::Ours(0, 4)]),
    (
        "random-two",
        Model::Random,
        &[Plan::Ours(0, 2), Plan::Ours(2, 4)],
    ),
    (
        "random-three",
        Model::Random,
        &[Plan::Ours(0, 1), Plan::Ours(1, 3), Plan::Ours(3, 4)],
    ),
    // For tests that watch a server's cache, which other sessions would change.
    ("random-idle", Model::Random, &[Plan::Ours(0, 4)]),
    (
        "python-rust-python",
        Model::Fable,
        &[Plan::Petals(0, 3), Plan::Ours(3, 6), Plan::Petals(6, 8)],
    ),
    (
        "rust-python-rust",
        Model::Fable,
        &[Plan::Ours(0, 2), Plan::Petals(2, 5), Plan::Ours(5, 8)],
    ),
];

impl Swarm {
    fn start() -> Self {
        let bootstrap = PythonPeer::spawn("bootstrap", Role::Dht);
        let client = PythonPeer::spawn("client", Role::Client);
        let second_client = PythonPeer::spawn("second-client", Role::Client);
        let monitor = PythonPeer::spawn("monitor", Role::Monitor);
        let started: Vec<_> = PLANS
            .iter()
            .map(|plan| plan.2.iter().map(|hop| hop.prepare(plan.0)).collect())
            .collect();

        client.await_ready();
        let random = temporary("random-model");
        client.call::<()>("make_model", json!({ "folder": random }));
        bootstrap.await_ready();
        let joined: Value = bootstrap.call(
            "start",
            json!({ "initial_peers": [], "reachability": true }),
        );
        let address = joined["addresses"][0].as_str().unwrap().to_owned();

        let chains = online(started, &random, &address);
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

/// A server whose process may already have begun its imports, but that serves nothing yet.
enum Prepared {
    Ours {
        name: String,
        blocks: (u32, u32),
    },
    Petals {
        peer: PythonPeer,
        blocks: (u32, u32),
    },
}

impl Plan {
    fn prepare(self, prefix: &str) -> Prepared {
        match self {
            Self::Ours(first, end) => Prepared::Ours {
                name: format!("{prefix}-{first}-{end}"),
                blocks: (first, end),
            },
            Self::Petals(first, end) => {
                let peer = PythonPeer::spawn(&format!("{prefix}-{first}-{end}"), Role::Server);
                Prepared::Petals {
                    peer,
                    blocks: (first, end),
                }
            }
        }
    }
}

/// Starts all servers side by side and returns when the last one is online.
fn online(started: Vec<Vec<Prepared>>, random: &Path, bootstrap: &str) -> Vec<Chain> {
    let mut chains = Vec::new();
    for ((prefix, model, _), servers) in PLANS.into_iter().zip(started) {
        let (model, vocabulary) = match model {
            Model::Fable => (repository().join("models/fable-7m"), 4096),
            Model::Random => (random.to_owned(), 256),
        };
        let servers: Vec<_> = servers
            .into_iter()
            .map(|server| server.start(&model, prefix, bootstrap))
            .collect();
        chains.push((prefix, model, vocabulary, servers));
    }
    chains
        .into_iter()
        .map(|(prefix, model, vocabulary, servers)| {
            let hops = servers
                .into_iter()
                .map(|(server, blocks)| server.await_online(blocks))
                .collect();
            Chain {
                prefix,
                model,
                vocabulary,
                hops,
            }
        })
        .collect()
}

impl Prepared {
    fn start(self, model: &Path, prefix: &str, bootstrap: &str) -> (Server, (u32, u32)) {
        match self {
            Self::Ours { name, blocks } => {
                let span = format!("{}:{}", blocks.0, blocks.1);
                (
                    Server::Ours(BlockServer::spawn(&name, model, prefix, &span, bootstrap)),
                    blocks,
                )
            }
            Self::Petals { peer, blocks } => {
                peer.await_ready();
                peer.begin(
                    "start",
                    json!({
                        "model": model,
                        "prefix": prefix,
                        "blocks": format!("{}:{}", blocks.0, blocks.1),
                        "initial_peers": [bootstrap],
                    }),
                );
                (Server::Petals(peer), blocks)
            }
        }
    }
}

impl Server {
    fn await_online(self, blocks: (u32, u32)) -> Hop {
        let contact = match &self {
            Self::Ours(server) => server.await_ready(),
            Self::Petals(peer) => {
                let contact: Value = peer.call("contact", json!({}));
                Contact {
                    address: contact["addresses"][0].as_str().unwrap().to_owned(),
                    peer_id: contact["peer_id"].as_str().unwrap().to_owned(),
                }
            }
        };
        Hop {
            server: self,
            contact,
            blocks,
        }
    }
}
