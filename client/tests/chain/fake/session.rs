//! One session of a server that does what a script says.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use block_network::{Received, ServerStream, StreamCall};
use block_protocol::compression::{decode_f32, decode_i64, encode_f32};
use block_protocol::{
    BlockChain, Compression, ExpertRequest, ExpertResponse, OpenMetadata, Rpc, StepMetadata,
    WireTensor,
};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Fault, Kind, PREFIX, Shared};
use crate::toy::Toy;

impl Shared {
    pub(super) async fn session(self: Arc<Self>, call: StreamCall) {
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
