//! A few scripted servers, a client beside them, and what the toy function gives without any network.

use block_client::swarm_view::Records;
use block_client::{ActivationCodec, Chain, ChainConfig, ModelView, SessionError};
use block_network::{Node, NodeConfig, NodeTask};
use std::ops::Range;

use crate::fake::{Fake, Kind, PREFIX};
use crate::model::Model;
use crate::toy::{HIDDEN, Toy, numbers};

pub(crate) struct TestSwarm {
    pub(crate) servers: Vec<Fake>,
    pub(crate) view: ModelView,
    pub(crate) blocks: usize,
    node: Node,
    _task: NodeTask,
}

impl TestSwarm {
    /// Starts servers of `kinds`, which all know each other.
    pub(crate) async fn start(servers: Vec<(Kind, Range<usize>)>) -> Self {
        let blocks = servers.iter().map(|(_, blocks)| blocks.end).max().unwrap();
        let mut started = Vec::new();
        for (kind, blocks) in servers {
            started.push(Fake::start(kind, blocks).await);
        }
        let (node, task) = Node::start(NodeConfig::throw_away()).await.unwrap();
        for server in &started {
            node.add_address(server.peer, server.address.clone()).await;
            for other in &started {
                if other.peer != server.peer {
                    other.add_address(server).await;
                }
            }
        }
        let view = ModelView::fixed(PREFIX, blocks, &records(&started));
        Self {
            servers: started,
            view,
            blocks,
            node,
            _task: task,
        }
    }

    /// Servers of ours over these blocks.
    pub(crate) async fn ours(spans: &[Range<usize>]) -> Self {
        let servers = spans.iter().map(|blocks| (Kind::ours(), blocks.clone()));
        Self::start(servers.collect()).await
    }

    pub(crate) fn config(&self, codec: ActivationCodec, push: bool) -> ChainConfig {
        ChainConfig {
            codec,
            push,
            ..ChainConfig::new(0..self.blocks, HIDDEN, 64)
        }
    }

    pub(crate) async fn open(&self, config: ChainConfig) -> Result<Chain, SessionError> {
        Chain::open(self.view.clone(), self.node.clone(), config).await
    }

    /// The server that runs the blocks' first, in `chain`'s route.
    pub(crate) fn server_of(&self, chain: &Chain, stop: usize) -> &Fake {
        let peer = chain.stats().route[stop].peer;
        self.servers
            .iter()
            .find(|server| server.peer == peer)
            .unwrap()
    }
}

pub(crate) fn records(servers: &[Fake]) -> Records {
    let mut records = Records::new();
    for server in servers {
        for block in server.blocks.clone() {
            let under = records.entry(block).or_default();
            under.insert(server.peer.to_base58(), server.record());
        }
    }
    records
}

/// A prompt of `prompt` tokens, then `decode` single ones. Returns all outputs.
pub(crate) async fn generate(
    chain: &mut Chain,
    batch: usize,
    prompt: usize,
    decode: usize,
) -> Result<Vec<Vec<f32>>, SessionError> {
    let mut outputs = Vec::new();
    for step in 0..=decode {
        let tokens = if step == 0 { prompt } else { 1 };
        let input = numbers(step as u64, batch * tokens * HIDDEN);
        outputs.push(chain.step(&input, None).await?);
    }
    Ok(outputs)
}

/// The same without a network, codec none.
pub(crate) fn expected(blocks: usize, batch: usize, prompt: usize, decode: usize) -> Vec<Vec<f32>> {
    let mut toy = Toy::new(0..blocks, batch);
    (0..=decode)
        .map(|step| {
            let tokens = if step == 0 { prompt } else { 1 };
            toy.step(&numbers(step as u64, batch * tokens * HIDDEN))
        })
        .collect()
}

/// A step of `prompt` tokens, then `decode` single ones, each output compared with the model's.
pub(crate) async fn check_outputs(
    chain: &mut Chain,
    model: &mut Model,
    prompt: usize,
    decode: usize,
) {
    for step in 0..=decode {
        let tokens = if step == 0 { prompt } else { 1 };
        let input = numbers((chain.position() + 1000) as u64, tokens * HIDDEN);
        let output = chain.step(&input, None).await.unwrap();
        assert_eq!(output, model.step(&input), "step {step}");
    }
}
