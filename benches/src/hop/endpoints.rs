//! Two nodes on loopback, each with its own runtime: one serves a span and an echo, the other calls.

use std::time::Duration;

use anyhow::{Context, Result};
use block_client::{Hop, Opening};
use block_model::BlockSpan;
use block_network::{ClientStream, Node, NodeConfig, PeerId, Received, ServerStream, identity};
use block_program::network_threads;
use block_protocol::{BlockChain, Compression, DType, Span};
use block_server::{Service, ServiceConfig};
use tokio::runtime::Runtime;

use super::other_thread::OtherThread;

/// How long anything may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// RPCs of this program only.
const ECHO: &str = "Benches.echo";
const HANDED_ECHO: &str = "Benches.handed_echo";

const PREFIX: &str = "bench";

pub(super) struct Endpoints {
    client: Runtime,
    server: Runtime,
    node: Node,
    service: Service,
    peer: PeerId,
    blocks: Span,
}

impl Endpoints {
    /// Serves `span`, and an echo beside it.
    pub(super) fn start(span: Box<dyn BlockSpan>) -> Result<Self> {
        let blocks = span.description().blocks.clone();
        let blocks = Span::new(blocks.start, blocks.end)?;
        let (client, server) = (network_threads::runtime()?, network_threads::runtime()?);
        let (service, address) = server.block_on(async {
            let listen = NodeConfig {
                listen: vec!["/ip4/127.0.0.1/tcp/0".parse()?],
                ..NodeConfig::new(identity::ephemeral())
            };
            let (node, task) = Node::start(listen).await?;
            tokio::spawn(task.join());
            let mut echoes = node.serve_stream(ECHO, 1);
            tokio::spawn(async move {
                while let Some(call) = echoes.recv().await {
                    tokio::spawn(echo(call.stream));
                }
            });
            let mut handed = node.serve_stream(HANDED_ECHO, 1);
            let thread = OtherThread::start()?;
            tokio::spawn(async move {
                while let Some(call) = handed.recv().await {
                    tokio::spawn(handed_echo(call.stream, thread.clone()));
                }
            });
            let address = node.listen_addresses().await.into_iter().next();
            let service = Service::start(node, span, config())?;
            anyhow::Ok((service, address.context("the node listens nowhere")?))
        })?;
        let (node, peer) = client.block_on(async {
            let (node, task) = Node::start(NodeConfig::throw_away()).await?;
            tokio::spawn(task.join());
            let peer = node.dial(address).await?;
            anyhow::Ok((node, peer))
        })?;
        Ok(Self {
            client,
            server,
            node,
            service,
            peer,
            blocks,
        })
    }

    /// Runs `work` as a task of the client, as programs do: the thread that waits here would be one more to wake.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        network_threads::run(&self.client, work)
    }

    /// A session whose answers are packed by `codec`.
    pub(super) fn open_hop(&self, max_length: usize, codec: Compression) -> Result<Hop> {
        let chain = BlockChain {
            prefix: PREFIX.to_owned(),
            span: self.blocks,
        };
        let mut opening = Opening::new(chain, max_length);
        opening.output_compression = Some(codec);
        opening.step_timeout = PATIENCE;
        opening.alloc_timeout = PATIENCE;
        let hop = Hop::open(&self.node, self.peer, opening, PATIENCE);
        Ok(self.client.block_on(hop)?)
    }

    pub(super) fn open_echo(&self) -> Result<ClientStream> {
        Ok(self
            .client
            .block_on(self.node.open(self.peer, ECHO, PATIENCE))?)
    }

    /// An echo whose server side hands every message to another thread and waits for it, as a step's is.
    pub(super) fn open_handed_echo(&self) -> Result<ClientStream> {
        Ok(self
            .client
            .block_on(self.node.open(self.peer, HANDED_ECHO, PATIENCE))?)
    }

    /// Ends both sides.
    pub(super) fn close(self) {
        self.client.block_on(self.node.shutdown());
        self.server.block_on(self.service.drain(PATIENCE));
    }
}

/// Returns every message as it came.
async fn echo(mut stream: ServerStream) {
    while let Ok(Received::Message(body)) = stream.recv().await {
        if stream.send(body).await.is_err() {
            return;
        }
    }
}

/// Returns every message after another thread has had it.
async fn handed_echo(mut stream: ServerStream, thread: OtherThread) {
    while let Ok(Received::Message(body)) = stream.recv().await {
        let Some(body) = thread.pass(body).await else {
            return;
        };
        if stream.send(body).await.is_err() {
            return;
        }
    }
}

fn config() -> ServiceConfig {
    ServiceConfig {
        dht_prefix: PREFIX.to_owned(),
        schema_dtype: DType::F32,
        compression: Compression::None,
        version: "2.3.0.dev2".to_owned(),
        implementation: "block-server/bench".to_owned(),
        quant_type: "none".to_owned(),
        dht_client_mode: false,
        inference_max_length: 4096,
        max_batch_tokens: 1024,
        attn_cache_tokens: 8192,
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
