//! Servers, clients and hidden states.

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use block_client::request::{Forward, info};
use block_client::{Hop, HopError, HopStep, Opening};
use block_model::{
    BlockSpan, CandleSpan, ComputeDevice, ForwardRow, HiddenStates, ModelSource, Prompts, SpanDType,
};
use block_network::{Multiaddr, Node, NodeConfig, PeerId, identity};
use block_protocol::compression::{decode_f32, encode_f32, encode_i64};
use block_protocol::{BlockChain, Compression, DType, Span, WireTensor};
use block_server::{Service, ServiceConfig};
use bytes::Bytes;

/// How long a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Prefix of the test model.
pub(crate) const PREFIX: &str = "tiny-llama-hf";

/// Width of the test model.
pub(crate) const HIDDEN: usize = 64;

/// A server on loopback.
pub(crate) struct Server {
    pub(crate) node: Node,
    pub(crate) service: Service,
    pub(crate) address: Multiaddr,
}

/// The defaults of a test server; roomy enough that only tests of limits meet one.
pub(crate) fn config() -> ServiceConfig {
    ServiceConfig {
        dht_prefix: PREFIX.to_owned(),
        schema_dtype: DType::F32,
        compression: Compression::None,
        version: "2.3.0.dev2".to_owned(),
        implementation: "block-server/test".to_owned(),
        quant_type: "none".to_owned(),
        dht_client_mode: false,
        inference_max_length: 512,
        max_batch_tokens: 1024,
        attn_cache_tokens: 2048,
        max_sessions: 16,
        max_sessions_per_peer: 8,
        max_alloc_timeout: Duration::from_secs(600),
        trusted_peers: None,
        session_timeout: Duration::from_secs(1800),
        step_timeout: Duration::from_secs(300),
        request_timeout: Duration::from_secs(180),
        block_delay: Duration::ZERO,
    }
}

/// The blocks `blocks` of the test model in float32.
pub(crate) fn span(blocks: Range<usize>) -> CandleSpan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/tiny-llama");
    let source = ModelSource::directory(path).unwrap();
    CandleSpan::load(&source, blocks, SpanDType::F32, ComputeDevice::Cpu).unwrap()
}

impl Server {
    /// Serves the blocks `blocks` of the test model.
    pub(crate) async fn start(blocks: Range<usize>) -> Self {
        Self::with(Box::new(span(blocks)), config()).await
    }

    pub(crate) async fn with(span: Box<dyn BlockSpan>, config: ServiceConfig) -> Self {
        let (node, address) = listening().await;
        let service = Service::start(node.clone(), span, config).unwrap();
        Self {
            node,
            service,
            address,
        }
    }

    pub(crate) fn peer(&self) -> PeerId {
        self.node.peer_id()
    }

    /// Free cache in tokens, as a client sees it.
    pub(crate) async fn free_tokens(&self, client: &Node) -> u64 {
        let info = info(client, self.peer(), "", PATIENCE).await.unwrap();
        info.cache_tokens_available
    }
}

/// A node whose event loop runs as long as the test.
async fn start(config: NodeConfig) -> Node {
    let (node, task) = Node::start(config).await.unwrap();
    tokio::spawn(task.join());
    node
}

/// A node that listens on loopback, with its address.
pub(crate) async fn listening() -> (Node, Multiaddr) {
    let listen = "/ip4/127.0.0.1/tcp/0".parse().unwrap();
    let node = start(NodeConfig {
        listen: vec![listen],
        ..NodeConfig::new(identity::ephemeral())
    })
    .await;
    let address = node.listen_addresses().await.remove(0);
    (node, address)
}

/// A node that only calls, connected to `servers`.
pub(crate) async fn client(servers: &[&Server]) -> Node {
    let node = start(NodeConfig::throw_away()).await;
    for server in servers {
        node.dial(server.address.clone()).await.unwrap();
    }
    node
}

pub(crate) fn chain(blocks: Range<usize>) -> BlockChain {
    BlockChain {
        prefix: PREFIX.to_owned(),
        span: Span::new(blocks.start, blocks.end).unwrap(),
    }
}

/// Opens a session over `blocks`; what it asks for may be changed.
pub(crate) async fn hop_with(
    client: &Node,
    server: &Server,
    blocks: Range<usize>,
    change: impl FnOnce(&mut Opening),
) -> Hop {
    let mut opening = Opening::new(chain(blocks), 100);
    opening.step_timeout = PATIENCE;
    change(&mut opening);
    Hop::open(client, server.peer(), opening, PATIENCE)
        .await
        .unwrap()
}

pub(crate) async fn hop(client: &Node, server: &Server, blocks: Range<usize>) -> Hop {
    hop_with(client, server, blocks, |_| {}).await
}

/// Hidden states that own their values, `[batch, seq, hidden]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct States {
    pub(crate) values: Vec<f32>,
    pub(crate) shape: [usize; 3],
}

impl States {
    /// Values without meaning, the same in every run, different for every phase.
    pub(crate) fn wave(batch: usize, seq: usize, phase: usize) -> Self {
        let count = batch * seq * HIDDEN;
        let values = (0..count).map(|index| ((index + 977 * phase) as f32 * 0.37).sin());
        Self {
            values: values.collect(),
            shape: [batch, seq, HIDDEN],
        }
    }

    /// The tokens `range` of every batch row.
    pub(crate) fn tokens(&self, range: Range<usize>) -> Self {
        let [batch, seq, hidden] = self.shape;
        let rows = self.values.chunks_exact(seq * hidden);
        let kept = rows.flat_map(|row| &row[range.start * hidden..range.end * hidden]);
        Self {
            values: kept.copied().collect(),
            shape: [batch, range.len(), hidden],
        }
    }

    /// The batch rows `rows`, in that order.
    pub(crate) fn rows(&self, rows: &[usize]) -> Self {
        let [_, seq, hidden] = self.shape;
        let row = |row: &usize| &self.values[row * seq * hidden..(row + 1) * seq * hidden];
        Self {
            values: rows.iter().flat_map(row).copied().collect(),
            shape: [rows.len(), seq, hidden],
        }
    }

    pub(crate) fn wire(&self) -> WireTensor {
        self.packed(DType::F32, Compression::None)
    }

    pub(crate) fn packed(&self, dtype: DType, compression: Compression) -> WireTensor {
        encode_f32(&self.values, &self.shape, dtype, compression).unwrap()
    }

    pub(crate) fn of(tensor: &WireTensor) -> Self {
        Self {
            values: decode_f32(tensor).unwrap(),
            shape: tensor.shape.as_slice().try_into().unwrap(),
        }
    }

    pub(crate) fn view(&self) -> HiddenStates<'_> {
        HiddenStates {
            values: &self.values,
            shape: self.shape,
        }
    }

    /// Equal up to what the order of sums may change in float32.
    #[track_caller]
    pub(crate) fn assert_near(&self, expected: &Self) {
        self.assert_within(expected, 2e-5);
    }

    /// Equal up to `tolerance` of the largest expected value.
    #[track_caller]
    pub(crate) fn assert_within(&self, expected: &Self, tolerance: f32) {
        assert_eq!(self.shape, expected.shape);
        let largest = expected
            .values
            .iter()
            .fold(0.0_f32, |most, value| most.max(value.abs()));
        let pairs = self.values.iter().zip(&expected.values);
        let difference = pairs.map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max);
        assert!(
            difference <= tolerance * largest,
            "off by {difference}, largest {largest}"
        );
    }
}

/// What the blocks make of `input` from position 0 on, computed here.
pub(crate) fn expected(blocks: Range<usize>, input: &States) -> States {
    expected_with(blocks, input, None)
}

pub(crate) fn expected_with(
    blocks: Range<usize>,
    input: &States,
    prompts: Option<(&[f32], [usize; 4])>,
) -> States {
    let row = ForwardRow {
        blocks: blocks.clone(),
        hidden_states: input.view(),
        prompts: prompts.map(|(values, shape)| Prompts { values, shape }),
    };
    States {
        values: span(blocks).forward(&row).unwrap(),
        shape: input.shape,
    }
}

/// One step with a new identity.
pub(crate) fn step(input: &States) -> HopStep {
    HopStep::new(input.wire())
}

/// Runs one step and unpacks the answer.
pub(crate) async fn run(hop: &mut Hop, step: HopStep) -> States {
    States::of(&hop.step(step).await.unwrap())
}

pub(crate) fn reorder(indices: &[i64]) -> WireTensor {
    encode_i64(indices, &[indices.len()]).unwrap()
}

/// The placeholder of an absent tensor.
pub(crate) fn absent(dtype: DType) -> WireTensor {
    WireTensor {
        dtype,
        shape: vec![0],
        compression: Compression::None,
        chunks: 0,
        requires_grad: false,
        buffer: Bytes::new(),
    }
}

pub(crate) fn forward(blocks: Range<usize>, input: WireTensor) -> Forward {
    Forward {
        chain: chain(blocks),
        hidden_states: input,
        prompts: None,
        output_compression: None,
    }
}

/// The server's text, if it refused.
#[track_caller]
pub(crate) fn refusal<T: std::fmt::Debug>(outcome: Result<T, HopError>) -> String {
    match outcome {
        Err(HopError::Refused(text)) => text,
        other => panic!("a refusal was expected, got {other:?}"),
    }
}

/// Waits until `condition` holds and says how long it took.
pub(crate) async fn eventually<F: Future<Output = bool>>(condition: impl Fn() -> F) -> Duration {
    let started = Instant::now();
    while !condition().await {
        assert!(
            started.elapsed() < PATIENCE,
            "the condition never came true"
        );
        tokio::task::yield_now().await;
    }
    started.elapsed()
}
