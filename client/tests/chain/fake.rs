//! A server that does what a script says.

mod session;

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use block_network::{Multiaddr, Node, NodeConfig, NodeTask, PeerId, identity};
use block_protocol::{
    Compression, DType, ExpertInfo, ExpertRequest, Rpc, Schemas, ServerInfo, ServerRecord,
    ServerRpcInfo, ServerState, Span, StepMetadata,
};
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use crate::toy::HIDDEN;

pub(crate) const PREFIX: &str = "toy-hf";

/// What goes wrong, and at which of the server's steps with tokens, counted over all its sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process is gone before it answers.
    DieBefore,
    /// The process is gone after its answer.
    DieAfter,
    /// The process is stopped: connections stay, nothing moves.
    Stop,
    /// An error frame in which the server blames itself.
    Refuse,
    /// An error frame that says that the session, which grows, has lost its cache.
    RunOut,
    /// An error frame in which the server blames the request.
    Blame,
    /// The session is ended in order.
    EndSession,
    /// The answer takes this many milliseconds; `rpc_info` still works.
    Slow(u64),
    /// The answer's buffer is cut.
    CutBuffer,
    /// The answer has another shape.
    WrongShape,
    /// The answer is no protobuf.
    Garbage,
    /// The answer comes twice.
    Twice,
    /// The output is not handed on.
    LosePush,
    /// The output is handed on late.
    LatePush(u64),
}

/// What kind of server it is.
#[derive(Debug, Clone)]
pub(crate) struct Kind {
    pub(crate) dtype: DType,
    /// Empty: like the reference's.
    pub(crate) codecs: Vec<Compression>,
    pub(crate) implementation: Option<&'static str>,
    pub(crate) version: &'static str,
}

impl Kind {
    pub(crate) fn ours() -> Self {
        Self {
            dtype: DType::F32,
            codecs: Compression::ALL.to_vec(),
            implementation: Some("block-server/0.1.0"),
            version: "2.3.0.dev2",
        }
    }

    /// Petals 2.2: no rollback, no pushes, no list of codecs.
    pub(crate) fn petals() -> Self {
        Self {
            dtype: DType::F32,
            codecs: Vec::new(),
            implementation: None,
            version: "2.2.0.post1",
        }
    }
}

/// What a server has seen.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    /// Codecs of steps with tokens that came on streams.
    pub(crate) streamed: Vec<Compression>,
    /// The same of pushed ones that ran.
    pub(crate) pushed: Vec<Compression>,
    /// Codecs of answers with tokens.
    pub(crate) answered: Vec<Compression>,
    /// Tokens of all steps that ran.
    pub(crate) tokens: usize,
    /// Sessions opened.
    pub(crate) sessions: usize,
}

pub(crate) struct Fake {
    pub(crate) peer: PeerId,
    pub(crate) address: Multiaddr,
    pub(crate) blocks: Range<usize>,
    shared: Arc<Shared>,
    _task: NodeTask,
}

struct Shared {
    node: Node,
    kind: Kind,
    blocks: Range<usize>,
    script: Mutex<VecDeque<(usize, Fault)>>,
    steps: AtomicUsize,
    stopped: watch::Sender<bool>,
    inboxes: Mutex<HashMap<String, mpsc::Sender<ExpertRequest>>>,
    seen: Mutex<Seen>,
    tasks: TaskTracker,
}

impl Fake {
    pub(crate) async fn start(kind: Kind, blocks: Range<usize>) -> Self {
        let config = NodeConfig {
            listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
            ..NodeConfig::new(identity::ephemeral())
        };
        let (node, task) = Node::start(config).await.unwrap();
        let address = node.listen_addresses().await.remove(0);
        let shared = Arc::new(Shared {
            kind,
            blocks: blocks.clone(),
            script: Mutex::default(),
            steps: AtomicUsize::new(0),
            stopped: watch::Sender::new(false),
            inboxes: Mutex::default(),
            seen: Mutex::default(),
            tasks: TaskTracker::new(),
            node: node.clone(),
        });
        shared.serve();
        Self {
            peer: node.peer_id(),
            address,
            blocks,
            shared,
            _task: task,
        }
    }

    /// Lets `fault` happen at the step of that number from now on, from 0.
    pub(crate) fn at(&self, step: usize, fault: Fault) {
        let step = self.shared.steps.load(Ordering::SeqCst) + step;
        let mut script = self.shared.script.lock().unwrap();
        script.push_back((step, fault));
    }

    pub(crate) fn seen(&self) -> Seen {
        self.shared.seen.lock().unwrap().clone()
    }

    pub(crate) async fn add_address(&self, other: &Self) {
        let node = &self.shared.node;
        node.add_address(other.peer, other.address.clone()).await;
    }

    pub(crate) async fn die(&self) {
        self.shared.node.shutdown().await;
    }

    /// Where it listens, or did.
    pub(crate) fn port(&self) -> u16 {
        let address = self.address.to_string();
        let after = address.split_once("/tcp/").unwrap().1;
        after.split('/').next().unwrap().parse().unwrap()
    }

    pub(crate) fn is_petals(&self) -> bool {
        self.shared.kind.codecs.is_empty()
    }

    pub(crate) fn record(&self) -> ServerRecord {
        let kind = &self.shared.kind;
        let codecs = kind.codecs.iter().map(|codec| codec.name().to_owned());
        ServerRecord {
            state: ServerState::Online,
            throughput: 100.0,
            info: ServerInfo {
                span: Some(Span::new(self.blocks.start, self.blocks.end).unwrap()),
                version: Some(kind.version.to_owned()),
                implementation: kind.implementation.map(str::to_owned),
                torch_dtype: Some(kind.dtype.name().to_owned()),
                codecs: codecs.collect(),
                inference_rps: Some(2000.0),
                ..ServerInfo::default()
            },
        }
    }
}

impl Shared {
    fn serve(self: &Arc<Self>) {
        let mut streams = self.node.serve_stream(Rpc::Inference.name(), 64);
        let mut pushes = self.node.serve_unary(Rpc::Push.name(), 64);
        let mut infos = self.node.serve_unary(Rpc::Info.name(), 64);
        let shared = Arc::clone(self);
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    Some(call) = streams.recv() => {
                        let shared = Arc::clone(&shared);
                        shared.tasks.clone().spawn(async move { shared.session(call).await });
                    }
                    Some(call) = pushes.recv() => {
                        shared.unless_stopped().await;
                        shared.deliver(call.body.clone());
                        call.respond(Ok(Bytes::new()));
                    }
                    Some(call) = infos.recv() => {
                        shared.unless_stopped().await;
                        call.respond(Ok(shared.info()));
                    }
                    else => break,
                }
            }
        });
    }

    async fn unless_stopped(&self) {
        let mut stopped = self.stopped.subscribe();
        // The sender lives as long as we.
        let _ = stopped.wait_for(|stopped| !stopped).await;
    }

    fn info(&self) -> Bytes {
        let kind = &self.kind;
        let codecs = kind.codecs.iter().map(|codec| codec.name().to_owned());
        let info = ServerRpcInfo {
            version: Some(kind.version.to_owned()),
            dht_client_mode: false,
            cache_tokens_available: 100_000,
            schemas: Some(Schemas::for_span(
                kind.dtype,
                HIDDEN,
                2048,
                Compression::None,
            )),
            codecs: codecs.collect(),
            implementation: kind.implementation.map(str::to_owned),
            torch_dtype: Some(kind.dtype.name().to_owned()),
            quant_type: None,
        };
        ExpertInfo {
            serialized_info: info.encode().into(),
        }
        .encode()
    }

    fn deliver(&self, body: Bytes) {
        let request = ExpertRequest::decode(body).unwrap();
        let metadata = StepMetadata::decode(&request.metadata).unwrap();
        let inboxes = self.inboxes.lock().unwrap();
        if let Some(inbox) = inboxes.get(&metadata.session_id.unwrap()) {
            let _ = inbox.try_send(request);
        }
    }

    fn fault(&self) -> Option<Fault> {
        let step = self.steps.fetch_add(1, Ordering::SeqCst);
        let mut script = self.script.lock().unwrap();
        let due = script.iter().position(|(at, _)| *at <= step)?;
        script.remove(due).map(|(_, fault)| fault)
    }
}
