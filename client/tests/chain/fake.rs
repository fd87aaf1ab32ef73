//! A server that does what a script says.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use block_network::{
    Multiaddr, Node, NodeConfig, NodeTask, PeerId, Received, ServerStream, StreamCall, identity,
};
use block_protocol::compression::{decode_f32, decode_i64, encode_f32};
use block_protocol::{
    BlockChain, Compression, DType, ExpertInfo, ExpertRequest, ExpertResponse, OpenMetadata, Rpc,
    Schemas, ServerInfo, ServerRecord, ServerRpcInfo, ServerState, Span, StepMetadata, WireTensor,
};
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use crate::toy::{HIDDEN, Toy};

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

    async fn session(self: Arc<Self>, call: StreamCall) {
        let mut stream = call.stream;
        let Ok(Received::Message(first)) = stream.recv().await else {
            return;
        };
        self.unless_stopped().await;
        let first = ExpertRequest::decode(first).unwrap();
        let open = OpenMetadata::decode(&first.metadata).unwrap();
        let chain = BlockChain::parse(&first.uid).unwrap();
        let blocks = chain.span.range();
        if blocks.start < self.blocks.start || blocks.end > self.blocks.end {
            return stream.fail("bad request: these blocks are not served here");
        }
        self.seen.lock().unwrap().sessions += 1;
        let id = open.step.session_id.clone().unwrap();
        let (inbox, pushed) = mpsc::channel(8);
        self.inboxes.lock().unwrap().insert(id.clone(), inbox);
        let reply = match open.output_compression.as_deref() {
            Some(&[codec]) if !self.kind.codecs.is_empty() => codec,
            _ => Compression::None,
        };
        let stay = Stay {
            toy: Toy::new(blocks, first.tensors[0].shape[0]),
            max_length: open.max_length,
            reply,
            ids: HashSet::new(),
        };
        Arc::clone(&self).steps(stream, stay, pushed, first).await;
        self.inboxes.lock().unwrap().remove(&id);
    }

    async fn steps(
        self: Arc<Self>,
        mut stream: ServerStream,
        mut stay: Stay,
        mut pushed: mpsc::Receiver<ExpertRequest>,
        first: ExpertRequest,
    ) {
        let mut next = Some((first, false));
        loop {
            let (request, was_pushed) = match next.take() {
                Some(first) => first,
                None => tokio::select! {
                    received = stream.recv() => match received {
                        Ok(Received::Message(body)) => (ExpertRequest::decode(body).unwrap(), false),
                        _ => return stream.finish(),
                    },
                    Some(request) = pushed.recv() => (request, true),
                },
            };
            self.unless_stopped().await;
            if request.tensors.is_empty() {
                return stream.finish();
            }
            match self.one(&mut stream, &mut stay, request, was_pushed).await {
                Ok(()) => {}
                Err(Some(text)) => return stream.fail(&text),
                Err(None) => return stream.finish(),
            }
        }
    }

    async fn one(
        self: &Arc<Self>,
        stream: &mut ServerStream,
        stay: &mut Stay,
        request: ExpertRequest,
        was_pushed: bool,
    ) -> Result<(), Option<String>> {
        let metadata = StepMetadata::decode(&request.metadata).unwrap();
        if !stay.ids.insert(metadata.step_id.clone().unwrap()) {
            return Ok(());
        }
        let input = &request.tensors[0];
        let has_tokens = input.shape[1] > 0;
        let fault = if has_tokens { self.fault() } else { None };
        match fault {
            Some(Fault::DieBefore) => {
                self.node.shutdown().await;
                return Err(None);
            }
            Some(Fault::Stop) => {
                self.stopped.send_replace(true);
                self.unless_stopped().await;
            }
            Some(Fault::Refuse) => return Err(Some("internal error: out of luck".to_owned())),
            Some(Fault::RunOut) => {
                let text = "the KV cache ran out: this session has grown and is the youngest that does, so it ends";
                return Err(Some(text.to_owned()));
            }
            Some(Fault::Blame) => return Err(Some("bad request: no such thing".to_owned())),
            Some(Fault::EndSession) => return Err(None),
            Some(Fault::Slow(millis)) => tokio::time::sleep(Duration::from_millis(millis)).await,
            _ => {}
        }
        self.note(input, has_tokens, was_pushed);
        let output = stay.compute(&self.kind, &request, &metadata)?;
        if has_tokens {
            let mut seen = self.seen.lock().unwrap();
            seen.answered.push(output.compression);
        }
        // As our servers do, and the reference's do not.
        let names = self.kind.implementation.is_some();
        let named = metadata.step_id.clone().filter(|_| names);
        let answer = broken(output.clone(), named, fault);
        let times = if fault == Some(Fault::Twice) { 2 } else { 1 };
        for _ in 0..times {
            // A client that is gone is noticed at the next read.
            let _ = stream.send(answer.clone()).await;
        }
        if fault == Some(Fault::DieAfter) {
            self.node.shutdown().await;
            return Err(None);
        }
        let pushes = self.kind.implementation.is_some();
        if pushes && fault != Some(Fault::LosePush) {
            self.hand_on(&metadata, &request, output, fault);
        }
        Ok(())
    }

    fn note(&self, input: &WireTensor, has_tokens: bool, was_pushed: bool) {
        if has_tokens {
            let mut seen = self.seen.lock().unwrap();
            seen.tokens += input.shape[1];
            match was_pushed {
                true => seen.pushed.push(input.compression),
                false => seen.streamed.push(input.compression),
            }
        }
    }

    fn hand_on(
        self: &Arc<Self>,
        metadata: &StepMetadata,
        request: &ExpertRequest,
        output: WireTensor,
        fault: Option<Fault>,
    ) {
        let Some((next, metadata)) = metadata.for_push() else {
            return;
        };
        let mut tensors = request.tensors.clone();
        tensors[0] = output;
        let body = ExpertRequest {
            uid: BlockChain {
                prefix: PREFIX.to_owned(),
                span: next.span,
            }
            .to_string(),
            tensors,
            metadata: metadata.encode().into(),
        };
        let shared = Arc::clone(self);
        self.tasks.spawn(async move {
            if let Some(Fault::LatePush(millis)) = fault {
                tokio::time::sleep(Duration::from_millis(millis)).await;
            }
            let peer = next.peer_id.parse().unwrap();
            let body = body.encode().unwrap();
            let limit = Duration::from_secs(5);
            // The client sends its own copy of what cannot be handed on.
            let _ = shared.node.call(peer, Rpc::Push.name(), body, limit).await;
        });
    }
}

/// One session.
struct Stay {
    toy: Toy,
    max_length: usize,
    reply: Compression,
    ids: HashSet<String>,
}

impl Stay {
    fn compute(
        &mut self,
        kind: &Kind,
        request: &ExpertRequest,
        metadata: &StepMetadata,
    ) -> Result<WireTensor, Option<String>> {
        let refuse = |text: &str| Err(Some(format!("bad request: {text}")));
        let input = &request.tensors[0];
        let is_petals = kind.codecs.is_empty();
        if is_petals && input.compression != Compression::None {
            return refuse("the reference's servers get what their schema says");
        }
        if !is_petals && !kind.codecs.contains(&input.compression) {
            return refuse("a codec that is not listed");
        }
        if let Some(start) = metadata.start_from_position
            && !is_petals
        {
            if start > self.toy.position() {
                return refuse("a rollback to the future");
            }
            self.toy.cut(start);
        }
        if self.toy.position() + input.shape[1] > self.max_length {
            return refuse("too many tokens");
        }
        let hypo_ids = &request.tensors[2];
        if !hypo_ids.is_dummy() && input.shape[1] > 0 {
            let rows: Vec<usize> = decode_i64(hypo_ids)
                .unwrap()
                .iter()
                .map(|&row| row as usize)
                .collect();
            self.toy.reorder(&rows);
        }
        let values = decode_f32(input).map_err(|error| Some(format!("bad request: {error}")))?;
        let output = self.toy.step(&values);
        Ok(encode_f32(&output, &input.shape, kind.dtype, self.reply).unwrap())
    }
}

/// The answer's message, spoiled as the fault says.
fn broken(mut output: WireTensor, step_id: Option<String>, fault: Option<Fault>) -> Bytes {
    match fault {
        Some(Fault::Garbage) => return Bytes::from_static(b"\xff\xff\xff\xff"),
        Some(Fault::CutBuffer) => output.buffer.truncate(output.buffer.len() / 2),
        Some(Fault::WrongShape) => output.shape[2] += 1,
        _ => {}
    }
    let metadata = step_id.map(|id| StepMetadata {
        step_id: Some(id),
        ..StepMetadata::default()
    });
    ExpertResponse {
        tensors: vec![output],
        metadata: metadata.map_or_else(Bytes::new, |named| named.encode().into()),
    }
    .encode()
    .unwrap()
}
