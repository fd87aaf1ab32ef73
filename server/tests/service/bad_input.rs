//! What a peer can get wrong: a clear error for it, and nothing for anybody else.

use block_client::{Hop, HopStep, Opening};
use block_network::Node;
use block_protocol::compression::{encode_f32, encode_i64};
use block_protocol::{
    Compression, DType, ExpertRequest, OpenMetadata, Rpc, StepMetadata, WireTensor,
};
use bytes::Bytes;

use crate::raw::{RawPeer, answer};
use crate::support::*;

/// A good session beside the bad requests. It must not notice them.
struct Bystander {
    hop: Hop,
    input: States,
    whole: States,
    done: usize,
}

impl Bystander {
    async fn start(server: &Server) -> (Self, Node) {
        let node = client(&[server]).await;
        let input = States::wave(1, 40, 30);
        let bystander = Self {
            hop: hop(&node, server, 0..4).await,
            whole: expected(0..4, &input),
            input,
            done: 0,
        };
        (bystander, node)
    }

    async fn goes_on(&mut self) {
        let one = self.done..self.done + 1;
        let answer = run(&mut self.hop, step(&self.input.tokens(one.clone()))).await;
        answer.assert_near(&self.whole.tokens(one));
        self.done += 1;
    }
}

/// A first step with parts replaced.
fn first(change: impl FnOnce(&mut ExpertRequest, &mut OpenMetadata)) -> Bytes {
    let mut metadata = OpenMetadata {
        max_length: 10,
        points: 0.0,
        active_adapter: None,
        alloc_timeout: std::time::Duration::ZERO,
        output_compression: None,
        cache_grows: false,
        step: StepMetadata::default(),
    };
    let mut request = ExpertRequest {
        uid: chain(0..4).to_string(),
        tensors: vec![States::wave(1, 2, 0).wire()],
        metadata: Bytes::new(),
    };
    change(&mut request, &mut metadata);
    if request.metadata.is_empty() {
        request.metadata = metadata.encode().into();
    }
    request.encode().unwrap()
}

fn floats(shape: &[usize]) -> WireTensor {
    let values = vec![0.5; shape.iter().product()];
    encode_f32(&values, shape, DType::F32, Compression::None).unwrap()
}

fn uid(text: &'static str) -> impl FnOnce(&mut ExpertRequest, &mut OpenMetadata) {
    move |request, _| request.uid = text.to_owned()
}

/// First steps that ask for what must be refused, with a piece of the text that says why.
fn bad_wishes() -> Vec<(Bytes, &'static str)> {
    let metadata = |bytes: &'static [u8]| {
        first(move |request, _| request.metadata = Bytes::from_static(bytes))
    };
    let max_length = |tokens| first(move |_, metadata| metadata.max_length = tokens);
    let served = "serves blocks 0:4 of \"tiny-llama-hf\", block 7 was asked for";
    vec![
        (Bytes::from_static(b"\xff\xff\xff"), "bad request"),
        (metadata(b"\xc1"), "metadata"),
        (metadata(b"\x80"), "max_length"),
        (first(uid("tiny-llama-hf.7")), served),
        (
            first(uid("tiny-llama-hf.3 tiny-llama-hf.4")),
            "block 4 was asked for",
        ),
        (first(uid("other.0")), "\"other.0\" was asked for"),
        (
            first(uid("tiny-llama-hf.0 tiny-llama-hf.2")),
            "not consecutive",
        ),
        (first(uid("")), "was asked for"),
        (max_length(513), "this server grants 512"),
        (max_length(usize::MAX >> 1), "this server grants 512"),
        (
            first(|_, metadata| metadata.active_adapter = Some("lora".to_owned())),
            "\"lora\" is not loaded",
        ),
        (
            first(|_, metadata| metadata.output_compression = Some(vec![])),
            "output_compression",
        ),
        (
            first(|_, metadata| metadata.step.start_from_position = Some(1)),
            "start_from_position is 1",
        ),
    ]
}

/// First steps with tensors that must be refused.
fn bad_tensors() -> Vec<(Bytes, &'static str)> {
    let hidden = |tensor| first(move |request, _| request.tensors[0] = tensor);
    let with = |tensors| first(move |request, _| request.tensors.extend::<Vec<_>>(tensors));
    let mut short = floats(&[1, 2, HIDDEN]);
    short.buffer = short.buffer.slice(..7);
    let mut long = floats(&[1, 2, HIDDEN]);
    long.buffer = vec![0; 4096].into();
    let mut huge = floats(&[1, 2, HIDDEN]);
    huge.shape = vec![1, u32::MAX as usize, HIDDEN];
    let integers = encode_i64(&[1; 2 * HIDDEN], &[1, 2, HIDDEN]).unwrap();
    let prompts = "prompts must have the shape [4, 1 or 1, at most 2, 64]";
    vec![
        (
            hidden(floats(&[1, 2, 32])),
            "[batch, seq, 64], got [1, 2, 32]",
        ),
        (hidden(floats(&[2, HIDDEN])), "[batch, seq, 64]"),
        (hidden(floats(&[0, 2, HIDDEN])), "[batch, seq, 64]"),
        (hidden(integers), "float32"),
        (hidden(short), "bad request"),
        (hidden(long), "bad request"),
        (hidden(huge), "too long"),
        (hidden(floats(&[1, 11, HIDDEN])), "max_length 10"),
        (with(vec![floats(&[3, 1, 1, HIDDEN])]), prompts),
        (with(vec![floats(&[4, 1, 3, HIDDEN])]), prompts),
        (
            with(vec![absent(DType::F32), reorder(&[1])]),
            "hypo_ids must be in 0..1, 1 was given",
        ),
        (
            with(vec![absent(DType::F32), reorder(&[0, 0])]),
            "hypo_ids must have the shape [1]",
        ),
    ]
}

#[tokio::test]
async fn bad_first_steps_are_explained_and_disturb_nobody() {
    let server = Server::start(0..4).await;
    let (mut bystander, _node) = Bystander::start(&server).await;
    bystander.goes_on().await;
    let client = client(&[&server]).await;
    for (body, words) in bad_wishes().into_iter().chain(bad_tensors()) {
        let mut stream = client
            .open(server.peer(), Rpc::Inference.name(), PATIENCE)
            .await
            .unwrap();
        stream.send(body).await.unwrap();
        let outcome = stream
            .recv_within(PATIENCE)
            .await
            .map_err(block_client::HopError::from);
        let text = refusal(outcome);
        assert!(text.contains(words), "{text:?} does not say {words:?}");
        bystander.goes_on().await;
    }
    let left = || async { server.service.sessions() == 1 };
    eventually(left).await;
}

#[tokio::test]
async fn bad_later_steps_end_their_own_session_only() {
    let server = Server::start(0..4).await;
    let (mut bystander, _node) = Bystander::start(&server).await;
    let client = client(&[&server]).await;
    let input = States::wave(1, 2, 31);
    let good = || step(&input);
    let bad = [
        (
            HopStep {
                start_from_position: Some(3),
                ..good()
            },
            "only 2 tokens are in the cache",
        ),
        (
            HopStep {
                reorder: Some(reorder(&[-1])),
                ..good()
            },
            "hypo_ids",
        ),
        (step(&States::wave(2, 1, 0)), "opened for a batch of 1"),
        (step(&States::wave(1, 99, 0)), "max_length 100"),
        (
            HopStep {
                step_id: "x".repeat(129),
                ..good()
            },
            "step_id",
        ),
    ];
    for (step, words) in bad {
        let mut hop = hop(&client, &server, 0..4).await;
        run(&mut hop, good()).await;
        let text = refusal(hop.step(step).await);
        assert!(text.contains(words), "{text:?} does not say {words:?}");
        bystander.goes_on().await;
    }
}

#[tokio::test]
async fn numbers_without_sense_are_taken_as_they_are() {
    let server = Server::start(0..4).await;
    let (mut bystander, _node) = Bystander::start(&server).await;
    let client = client(&[&server]).await;
    let mut input = States::wave(1, 3, 32);
    input.values[5] = f32::NAN;
    input.values[70] = f32::INFINITY;
    let mut hop = hop(&client, &server, 0..4).await;
    assert_eq!(run(&mut hop, step(&input)).await.shape, [1, 3, HIDDEN]);
    bystander.goes_on().await;
}

#[tokio::test]
async fn a_session_may_end_before_it_began() {
    let server = Server::start(0..4).await;
    let client = client(&[&server]).await;
    let hop = Hop::open(
        &client,
        server.peer(),
        Opening::new(chain(0..4), 10),
        PATIENCE,
    )
    .await;
    hop.unwrap().close().await.unwrap();
    let mut stream = client
        .open(server.peer(), Rpc::Inference.name(), PATIENCE)
        .await
        .unwrap();
    stream.end_input().await.unwrap();
    assert_eq!(stream.recv_within(PATIENCE).await, Ok(None));
}

#[tokio::test]
async fn broken_frames_are_refused_or_forgotten() {
    let server = Server::start(0..4).await;
    let (mut bystander, _node) = Bystander::start(&server).await;
    let name = Rpc::Inference.name();
    let whole = first(|_, _| ());
    let length = (whole.len() as u64).to_be_bytes();
    let frame = [&[0], &length[..], &whole].concat();
    let peer = RawPeer::dial(&server.address).await;
    let wrong = [
        // Another marker; a length of 4 GiB; one of 2^64 - 1.
        [&[7], &length[..], &whole].concat(),
        [&[0], &(1_u64 << 32).to_be_bytes()[..], &whole].concat(),
        [&[0], &u64::MAX.to_be_bytes()[..], &whole].concat(),
    ];
    for bytes in wrong {
        let mut stream = peer.propose(name, &bytes).await.unwrap();
        let answer = answer(&mut stream, name).await;
        assert_eq!(answer.first(), Some(&1), "an error frame answers");
        bystander.goes_on().await;
    }
    for cut in [1, 5, 9, 10, frame.len() / 2, frame.len() - 1] {
        let stream = peer.propose(name, &frame[..cut]).await.unwrap();
        drop(stream);
        bystander.goes_on().await;
    }
    // A later frame that is cut off by the end of the stream.
    let later = [&frame[..], &frame[..20]].concat();
    drop(peer.propose(name, &later).await.unwrap());
    bystander.goes_on().await;
    eventually(|| async { server.service.sessions() == 1 }).await;
}

#[tokio::test]
async fn a_thousand_half_open_streams_stop_nobody() {
    let server = Server::start(0..4).await;
    let (mut bystander, node) = Bystander::start(&server).await;
    bystander.goes_on().await;
    let peer = RawPeer::dial(&server.address).await;
    let mut streams = Vec::new();
    for _ in 0..1000 {
        // Nine bytes of a frame that never comes.
        streams.extend(peer.propose(Rpc::Inference.name(), &[0; 8]).await);
    }
    for _ in 0..5 {
        bystander.goes_on().await;
    }
    let mut another = hop(&node, &server, 0..4).await;
    run(&mut another, step(&States::wave(1, 1, 0))).await;
    assert_eq!(server.service.sessions(), 2);
}
