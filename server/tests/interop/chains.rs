//! The chains of servers that the shared swarm consists of, and how each comes online.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use Planned::{Ours, Petals};
use block_testing::{BlockServer, Contact, PythonPeer, Role, Span, repository};

/// Every chain of the swarm.
pub(crate) static PLANS: [Plan; 14] = [
    float32("fable-one", FABLE, &[Ours(0, 8)]),
    float32("fable-two", FABLE, &[Ours(0, 5), Ours(5, 8)]),
    float32("fable-three", FABLE, &[Ours(0, 1), Ours(1, 6), Ours(6, 8)]),
    float32("random-one", RANDOM, &[Ours(0, 4)]),
    float32("random-two", RANDOM, &[Ours(0, 2), Ours(2, 4)]),
    float32(
        "random-three",
        RANDOM,
        &[Ours(0, 1), Ours(1, 3), Ours(3, 4)],
    ),
    // For tests that watch a server's cache, which other sessions would change.
    float32("random-idle", RANDOM, &[Ours(0, 4)]),
    float32(
        "python-rust-python",
        FABLE,
        &[Petals(0, 3), Ours(3, 6), Petals(6, 8)],
    ),
    float32(
        "rust-python-rust",
        FABLE,
        &[Ours(0, 2), Petals(2, 5), Ours(5, 8)],
    ),
    Plan {
        dtype: "bf16",
        ..float32("fable-bf16", FABLE, &[Ours(0, 4), Ours(4, 8)])
    },
    float32("bloom", &TINY_BLOOM, &[Ours(0, 2), Ours(2, 4)]),
    float32("falcon-40b", &TINY_FALCON_40B, &[Ours(0, 1), Ours(1, 4)]),
    float32("falcon-7b", &TINY_FALCON_7B, &[Ours(0, 3), Ours(3, 4)]),
    float32("falcon-rw", &TINY_FALCON_RW, &[Ours(0, 2), Ours(2, 4)]),
];

/// Servers that together hold every block of a model.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) prefix: &'static str,
    pub(crate) model: PathBuf,
    pub(crate) vocabulary: u32,
    /// Of our servers among them, as their flag spells it.
    pub(crate) dtype: &'static str,
    pub(crate) hops: Vec<Hop>,
}

#[derive(Debug)]
pub(crate) struct Hop {
    pub(crate) server: Server,
    pub(crate) contact: Contact,
    pub(crate) blocks: Blocks,
}

#[derive(Debug)]
pub(crate) enum Server {
    Ours(BlockServer),
    Petals(PythonPeer),
}

/// First and end, half-open, absolute.
pub(crate) type Blocks = (u32, u32);

/// One chain as it will be started.
pub(crate) struct Plan {
    prefix: &'static str,
    model: &'static Model,
    /// Of our servers, as their flag spells it; Python servers compute in float32.
    dtype: &'static str,
    hops: &'static [Planned],
}

#[derive(Clone, Copy)]
enum Planned {
    Ours(u32, u32),
    Petals(u32, u32),
}

struct Model {
    /// Below the repository; None for the model that the client makes.
    folder: Option<&'static str>,
    vocabulary: u32,
}

const FABLE: &Model = &Model {
    folder: Some("models/fable-7m"),
    vocabulary: 4096,
};
const RANDOM: &Model = &Model {
    folder: None,
    vocabulary: 256,
};

static TINY_BLOOM: Model = tiny("model/tests/fixtures/tiny-bloom");
static TINY_FALCON_40B: Model = tiny("model/tests/fixtures/tiny-falcon");
static TINY_FALCON_7B: Model = tiny("model/tests/fixtures/tiny-falcon7");
static TINY_FALCON_RW: Model = tiny("model/tests/fixtures/tiny-falcon-rw");

/// A fixture whose ids below 256 are bytes.
const fn tiny(folder: &'static str) -> Model {
    Model {
        folder: Some(folder),
        vocabulary: 256,
    }
}

const fn float32(prefix: &'static str, model: &'static Model, hops: &'static [Planned]) -> Plan {
    Plan {
        prefix,
        model,
        dtype: "f32",
        hops,
    }
}

/// A Python server imports for seconds before it can be told what to serve; ours starts at once.
pub(crate) struct Prepared {
    plan: &'static Plan,
    imports: Vec<Option<PythonPeer>>,
}

/// A chain whose servers load their blocks.
pub(crate) struct Starting {
    plan: &'static Plan,
    model: PathBuf,
    servers: Vec<Server>,
}

impl Planned {
    fn blocks(self) -> Blocks {
        let (Ours(first, end) | Petals(first, end)) = self;
        (first, end)
    }
}

impl Plan {
    /// Starts what takes long and needs neither the bootstrap node nor the model.
    pub(crate) fn prepare(&'static self) -> Prepared {
        let import = |hop: &Planned| match hop {
            Ours(..) => None,
            Petals(..) => Some(PythonPeer::spawn(&self.name(*hop), Role::Server)),
        };
        Prepared {
            plan: self,
            imports: self.hops.iter().map(import).collect(),
        }
    }

    fn name(&self, hop: Planned) -> String {
        let (first, end) = hop.blocks();
        format!("{}-{first}-{end}", self.prefix)
    }
}

impl Prepared {
    /// Has every server of the chain join through `bootstrap` and load, without waiting for it.
    pub(crate) fn start(self, random_model: &Path, bootstrap: &str) -> Starting {
        let plan = self.plan;
        let model = match plan.model.folder {
            Some(folder) => repository().join(folder),
            None => random_model.to_owned(),
        };
        let start = |(hop, imports): (&Planned, Option<PythonPeer>)| {
            let (first, end) = hop.blocks();
            let blocks = format!("{first}:{end}");
            let Some(peer) = imports else {
                let span = Span {
                    prefix: plan.prefix,
                    blocks: &blocks,
                    dtype: plan.dtype,
                    flags: &[],
                };
                return Server::Ours(BlockServer::spawn(
                    &plan.name(*hop),
                    &model,
                    &span,
                    bootstrap,
                ));
            };
            peer.await_ready();
            let span = json!({ "model": model, "prefix": plan.prefix, "blocks": blocks, "initial_peers": [bootstrap] });
            peer.begin("start", span);
            Server::Petals(peer)
        };
        let servers = plan.hops.iter().zip(self.imports).map(start).collect();
        Starting {
            plan,
            model,
            servers,
        }
    }
}

impl Starting {
    pub(crate) fn await_online(self) -> Chain {
        let Self {
            plan,
            model,
            servers,
        } = self;
        let hop = |(planned, server): (&Planned, Server)| {
            let contact = server.await_online();
            Hop {
                server,
                contact,
                blocks: planned.blocks(),
            }
        };
        let hops = plan.hops.iter().zip(servers).map(hop).collect();
        Chain {
            prefix: plan.prefix,
            model,
            vocabulary: plan.model.vocabulary,
            dtype: plan.dtype,
            hops,
        }
    }
}

impl Server {
    fn await_online(&self) -> Contact {
        match self {
            Self::Ours(server) => server.await_ready(),
            Self::Petals(peer) => {
                let contact: Value = peer.call("contact", json!({}));
                Contact {
                    peer_id: contact["peer_id"].as_str().unwrap().to_owned(),
                    address: contact["addresses"][0].as_str().unwrap().to_owned(),
                }
            }
        }
    }
}
