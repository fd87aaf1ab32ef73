//! Bytes that a real Petals client (and a real Petals server, for pushes) has sent, replayed on our server.
//! What they are and where they come from: `protocol/tests/fixtures`.

use std::path::Path;

use block_network::Node;
use block_protocol::frame::decode_request;
use block_protocol::{ExpertInfo, ExpertRequest, ExpertResponse, Rpc, ServerRpcInfo, StepMetadata};
use bytes::{Bytes, BytesMut};

use crate::support::*;

/// Marker and length before the body of a stream frame.
const STREAM_HEADER_BYTES: usize = 9;

/// The bytes stored under `name` in one of the fixture files.
fn golden(file: &str, name: &str) -> Bytes {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../protocol/tests/fixtures")
        .join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let vectors: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let vector = vectors.iter().find(|vector| vector["name"] == name);
    let hex = vector.unwrap_or_else(|| panic!("no vector {name}"))["hex"]
        .as_str()
        .unwrap();
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// The request inside a stored unary frame.
fn golden_call(file: &str, name: &str) -> Bytes {
    let mut frame = BytesMut::from(golden(file, name));
    decode_request(&mut frame).unwrap().unwrap().body
}

const CALLS: &str = "petals_calls_to_python_server.json";
const FROM_CLIENT: &str = "petals_inbound_from_python_client.json";
const PUSHES: &str = "misc_push.json";

async fn call(client: &Node, server: &Server, rpc: Rpc, body: Bytes) -> Bytes {
    client
        .call(server.peer(), rpc.name(), body, PATIENCE)
        .await
        .unwrap()
}

/// The step that an answer says it answers.
fn named_step(body: &Bytes) -> Option<String> {
    let metadata = ExpertResponse::decode(body.clone()).unwrap().metadata;
    StepMetadata::decode(&metadata).unwrap().step_id
}

fn only_shape(body: Bytes) -> Vec<usize> {
    let mut tensors = ExpertResponse::decode(body).unwrap().tensors;
    assert_eq!(tensors.len(), 1);
    tensors.remove(0).shape
}

#[tokio::test]
async fn a_petals_session_is_answered_step_by_step_and_closed() {
    let server = Server::start(0..4).await;
    let client = client(&[&server]).await;
    let mut stream = client
        .open(server.peer(), Rpc::Inference.name(), PATIENCE)
        .await
        .unwrap();
    for (step, seq) in [(0, 3), (1, 1), (2, 1)] {
        let frame = golden(CALLS, &format!("petals.rpc_inference.request.step{step}"));
        let request = frame.slice(STREAM_HEADER_BYTES..);
        let asked = ExpertRequest::decode(request.clone()).unwrap().metadata;
        stream.send(request).await.unwrap();
        let body = stream.recv_within(PATIENCE).await.unwrap().unwrap();
        let step_id = StepMetadata::decode(&asked).unwrap().step_id;
        assert!(step_id.is_some());
        assert_eq!(named_step(&body), step_id);
        assert_eq!(only_shape(body), [1, seq, HIDDEN]);
    }
    // The session holds what it asked for: 16 tokens in each of its blocks.
    let held = 4 * 2048 - server.free_tokens(&client).await;
    assert_eq!(held % 16, 0);
    assert!(held > 0);
    let close = golden(CALLS, "petals.rpc_inference.close.empty_request");
    stream
        .send(close.slice(STREAM_HEADER_BYTES..))
        .await
        .unwrap();
    stream.end_input().await.unwrap();
    assert_eq!(stream.recv_within(PATIENCE).await, Ok(None));
}

#[tokio::test]
async fn petals_calls_of_info_and_forward_are_answered_as_petals_does() {
    let server = Server::start(0..4).await;
    let client = client(&[&server]).await;
    let asked = golden_call(CALLS, "petals.rpc_info.request.frame");
    let answer = call(&client, &server, Rpc::Info, asked).await;
    let ours = ExpertInfo::decode(answer).unwrap().serialized_info;
    let theirs = golden(CALLS, "petals.rpc_info.serialized_info");
    let reference = ServerRpcInfo::decode(&theirs).unwrap();
    let info = ServerRpcInfo::decode(&ours).unwrap();
    // Equal but for the keys that only we have.
    assert_eq!(info.schemas, reference.schemas);
    assert_eq!(info.version, reference.version);
    assert_eq!(
        info.cache_tokens_available,
        reference.cache_tokens_available
    );
    assert_eq!(ours.slice(1..theirs.len()), theirs.slice(1..));

    let forward = golden_call(CALLS, "petals.rpc_forward.request.frame");
    let answer = call(&client, &server, Rpc::Forward, forward).await;
    assert_eq!(only_shape(answer), [1, 5, HIDDEN]);
    let wrong = golden_call(CALLS, "petals.rpc_forward.error.request.frame");
    let refused = client
        .call(server.peer(), Rpc::Forward.name(), wrong, PATIENCE)
        .await;
    let text = refusal(refused.map_err(block_client::HopError::from));
    assert!(text.contains("was asked for"), "{text}");
}

#[tokio::test]
async fn what_a_petals_client_sent_to_a_rust_server_is_answered() {
    let config = block_server::ServiceConfig {
        dht_prefix: "stub-model-hf".to_owned(),
        ..config()
    };
    let server = Server::with(Box::new(span(0..4)), config).await;
    let client = client(&[&server]).await;
    let called = |method| {
        let name = format!("inbound.TransformerConnectionHandler.{method}.request.frame");
        golden_call(FROM_CLIENT, &name)
    };
    let answer = call(&client, &server, Rpc::Info, called("rpc_info")).await;
    let info = ExpertInfo::decode(answer).unwrap().serialized_info;
    assert!(ServerRpcInfo::decode(&info).unwrap().schemas.is_some());
    let answer = call(&client, &server, Rpc::Forward, called("rpc_forward")).await;
    assert_eq!(only_shape(answer), [1, 5, HIDDEN]);
}

#[tokio::test]
async fn petals_parts_of_a_forward_are_joined() {
    let server = Server::start(0..4).await;
    let client = client(&[&server]).await;
    let name = Rpc::ForwardStream.name();
    let mut stream = client.open(server.peer(), name, PATIENCE).await.unwrap();
    for part in ["", "#1", "#2"] {
        let frame = golden(
            CALLS,
            &format!("petals.rpc_forward_stream.request_part{part}"),
        );
        stream
            .send(frame.slice(STREAM_HEADER_BYTES..))
            .await
            .unwrap();
    }
    stream.end_input().await.unwrap();
    let body = stream.recv_within(PATIENCE).await.unwrap().unwrap();
    assert_eq!(only_shape(body)[2], HIDDEN);
    assert_eq!(stream.recv_within(PATIENCE).await, Ok(None));
}

#[tokio::test]
async fn a_push_from_a_petals_server_is_a_step_of_our_session() {
    let server = Server::start(0..4).await;
    let client = client(&[&server]).await;
    let other = crate::support::client(&[&server]).await;
    let name = "inbound.TransformerConnectionHandler.rpc_push.request.frame";
    let pushed = golden_call(PUSHES, name);
    let request = ExpertRequest::decode(pushed.clone()).unwrap();
    let batch = request.tensors[0].shape[0];
    let mut hop = hop_with(&client, &server, 0..4, |opening| {
        opening.session_id = Some("target-session".to_owned());
    })
    .await;
    run(&mut hop, step(&States::wave(batch, 2, 0))).await;
    assert_eq!(call(&other, &server, Rpc::Push, pushed).await, Bytes::new());
    let answer = hop.answer().await.unwrap();
    assert_eq!(answer.shape, request.tensors[0].shape);
    // The client's own copy has the same identity and gets no answer.
    let copy = block_client::HopStep {
        step_id: "st-2".to_owned(),
        ..step(&States::wave(batch, 1, 1))
    };
    hop.send(copy).await.unwrap();
    run(&mut hop, step(&States::wave(batch, 1, 2))).await;
    hop.close().await.unwrap();
}
