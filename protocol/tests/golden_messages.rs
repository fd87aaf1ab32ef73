//! Messages and metadata against bytes captured from Petals' client and server.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::sync::LazyLock;

use block_protocol::{
    ArgsStructure, BlockChain, Compression, DType, ExpertInfo, ExpertRequest, ExpertResponse,
    ExpertUid, ForwardMetadata, ModelRecord, NextServer, OpenMetadata, Rpc, ServerRecord,
    ServerRpcInfo, Span, StepMetadata, WireTensor, args,
    frame::{StreamDecoder, StreamFrame, decode_reply, decode_request},
    limits::MAX_STREAM_FRAME_BYTES,
    reachability::{ReachabilityRequest, ReachabilityResponse},
};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use support::{FILES, vector, vectors};

const CALLS: &str = "petals_calls_to_python_server";
const CLIENT: &str = "petals_inbound_from_python_client";

/// The bodies of every captured call of `rpc`: requests and their successful answers.
fn bodies(rpc: Rpc) -> (Vec<Bytes>, Vec<Bytes>) {
    let (mut requests, mut responses) = (Vec::new(), Vec::new());
    let mut ids = Vec::new();
    for frame in FILES.iter().flat_map(|file| vectors(file)) {
        let mut buffer = BytesMut::from(&frame.bytes[..]);
        if frame.name.contains(".request.frame") {
            let request = decode_request(&mut buffer).unwrap().unwrap();
            if request.rpc == rpc.name() {
                ids.push(request.call_id.to_vec());
                requests.push(request.body);
            }
        } else if frame.name.contains(".response.frame") {
            let reply = decode_reply(&mut buffer).unwrap().unwrap();
            if ids.contains(&reply.call_id) {
                responses.extend(reply.result);
            }
        }
    }
    assert!(!requests.is_empty(), "{rpc:?}");
    (requests, responses)
}

fn stream_body(name: &str) -> Bytes {
    let frame = vector(CALLS, name);
    let mut buffer = BytesMut::from(&frame.bytes[..]);
    match StreamDecoder::new(MAX_STREAM_FRAME_BYTES).decode(&mut buffer) {
        Ok(Some(StreamFrame::Message(body))) => body,
        other => panic!("{name}: {other:?}"),
    }
}

/// Decodes a request and checks that it encodes to the same bytes.
fn request(body: &Bytes) -> ExpertRequest {
    let request = ExpertRequest::decode(body.clone()).unwrap();
    assert_eq!(request.encode().unwrap(), body);
    request
}

fn response(body: &Bytes) -> ExpertResponse {
    let response = ExpertResponse::decode(body.clone()).unwrap();
    assert_eq!(response.encode().unwrap(), body);
    response
}

#[test]
fn rpc_info_messages() {
    let (requests, responses) = bodies(Rpc::Info);
    for body in &requests {
        let uid = ExpertUid::decode(body.clone()).unwrap();
        assert!(uid.uid == "tiny-llama-hf.0" || uid.uid == "stub-model-hf.0");
        assert_eq!(uid.encode(), body);
    }
    assert_eq!(responses.len(), 2);
    for body in &responses {
        let info = ExpertInfo::decode(body.clone()).unwrap();
        assert_eq!(info.encode(), body);
    }
    let captured = vector(CALLS, "petals.rpc_info.serialized_info").bytes;
    assert!(responses.iter().any(|body| body.ends_with(&captured)));
}

#[test]
fn forward_and_backward_messages() {
    for (rpc, count) in [(Rpc::Forward, 2), (Rpc::Backward, 3)] {
        let (requests, responses) = bodies(rpc);
        for body in &requests {
            let request = request(body);
            assert_eq!(request.tensors.len(), count);
            assert!(request.tensors.last().unwrap().is_dummy());
            let hidden = &request.tensors[0];
            assert_eq!(
                (hidden.dtype, hidden.shape.as_slice()),
                (DType::F32, [1, 5, 64].as_slice())
            );
            let metadata = ForwardMetadata::decode(&request.metadata).unwrap();
            let arguments = args::resolve(metadata.args.as_ref(), request.tensors.clone()).unwrap();
            let in_order: Vec<_> = request.tensors.into_iter().map(Some).collect();
            assert_eq!(arguments, in_order);
        }
        for body in &responses {
            let response = response(body);
            assert_eq!(response.tensors.len(), 1);
            assert_eq!(response.tensors[0].numel(), Some(320));
        }
    }
}

#[test]
fn stream_parts() {
    let first = request(&stream_body("petals.rpc_forward_stream.request_part"));
    let second = request(&stream_body("petals.rpc_forward_stream.request_part#1"));
    let dummy = request(&stream_body("petals.rpc_forward_stream.request_part#2"));
    for part in [&first, &second, &dummy] {
        assert_eq!(
            (part.uid.as_str(), &part.metadata),
            (first.uid.as_str(), &first.metadata)
        );
        assert_eq!(part.tensors.len(), 1);
    }
    assert_eq!(first.tensors[0].chunks, 2);
    assert_eq!(second.tensors[0].dtype, DType::Continued);
    let parts_len = first.tensors[0].buffer.len() + second.tensors[0].buffer.len();
    assert_eq!(parts_len, first.tensors[0].numel().unwrap() * 4);
    assert!(dummy.tensors[0].is_dummy());
}

#[test]
fn inference_steps() {
    for (step, tokens) in [(0, 3), (1, 1), (2, 1)] {
        let request = request(&stream_body(&format!(
            "petals.rpc_inference.request.step{step}"
        )));
        let chain = BlockChain::parse(&request.uid).unwrap();
        assert_eq!(
            (chain.prefix.as_str(), chain.span.range()),
            ("tiny-llama-hf", 0..4)
        );
        assert_eq!(chain.to_string(), request.uid);
        let [hidden, prompts, hypo_ids] = request.tensors.as_slice() else {
            panic!("three tensors expected");
        };
        assert_eq!(hidden.shape, [1, tokens, 64]);
        assert!(prompts.is_dummy() && hypo_ids.is_dummy() && hypo_ids.dtype == DType::I64);
        let metadata = vector(CALLS, &format!("petals.rpc_inference.metadata.step{step}"));
        assert_eq!(request.metadata, metadata.bytes);

        let answer = vector(CALLS, &format!("petals.rpc_inference.response.step{step}"));
        let answer = response(&answer.bytes.into());
        assert_eq!(answer.tensors[0].shape, [1, tokens, 64]);
        assert!(answer.metadata.is_empty());
    }
    let end = request(&stream_body("petals.rpc_inference.close.empty_request"));
    assert_eq!(end, ExpertRequest::default());
}

#[test]
fn push_messages() {
    let (requests, responses) = bodies(Rpc::Push);
    for body in &requests {
        request(body);
    }
    assert_eq!(responses, [Bytes::new()]);
    let pushed = ExpertRequest::decode(requests[1].clone()).unwrap();
    assert_eq!(pushed.tensors.len(), 3);
    assert_eq!(BlockChain::parse(&pushed.uid).unwrap().span.range(), 0..4);
    assert_eq!(
        pushed.metadata,
        vector("misc_push", "server_push.metadata").bytes
    );
}

#[test]
fn reachability_messages() {
    let (requests, responses) = bodies(Rpc::ReachabilityCheck);
    let request = ReachabilityRequest::decode(requests[0].clone()).unwrap();
    assert!(request.peer.starts_with(&[0x00, 0x24, 0x08, 0x01]) && request.peer.len() == 38);
    assert_eq!(request.encode(), requests[0]);
    let response = ReachabilityResponse::decode(responses[0].clone()).unwrap();
    assert_eq!(response, ReachabilityResponse { available: false });
    assert_eq!(response.encode(), responses[0]);
}

#[test]
fn single_tensors() {
    let mut seen = Vec::new();
    for vector in vectors("python_serialization")
        .into_iter()
        .chain(vectors(CALLS))
    {
        let is_tensor = vector.name.starts_with("tensor.")
            || vector.name.starts_with("petals.tensor.")
            || vector.name.starts_with("split_for_streaming.");
        // The `.head` vector is the beginning of a buffer, not a message.
        if !is_tensor || vector.name.ends_with(".head") {
            continue;
        }
        let bytes = Bytes::from(vector.bytes);
        let tensor = WireTensor::decode(bytes.clone()).unwrap();
        assert_eq!(tensor.encode().unwrap(), bytes, "{}", vector.name);
        seen.push(tensor.compression);
    }
    assert_eq!(seen.len(), 23);
    let mut of_reference = Compression::ALL.iter().filter(|codec| codec.in_reference());
    assert!(of_reference.all(|codec| seen.contains(codec)));
}

#[test]
fn forward_metadata() {
    let bytes = vector(CALLS, "petals.rpc_forward.metadata").bytes;
    let metadata = ForwardMetadata {
        args: Some(ArgsStructure::positional(2)),
        ..ForwardMetadata::default()
    };
    assert_eq!(ForwardMetadata::decode(&bytes).as_ref(), Ok(&metadata));
    assert_eq!(metadata.encode(), bytes);
}

#[test]
fn metadata_of_the_python_client() {
    for (name, max_length) in [("step0.metadata", 16), ("step0.metadata#1", 9)] {
        let bytes = vector(CLIENT, &format!("inbound.rpc_inference.{name}")).bytes;
        let open = OpenMetadata::decode(&bytes).unwrap();
        assert_eq!(
            (open.max_length, open.points, &open.active_adapter),
            (max_length, 0.0, &None)
        );
        assert_eq!(open.step.start_from_position, Some(0));
        assert_eq!(open.step.args, Some(ArgsStructure::positional(3)));
        assert_eq!(open.encode(), bytes, "{name}");
    }
    for (name, position) in [("step1.metadata", 3), ("step1.metadata#1", 4)] {
        let bytes = vector(CLIENT, &format!("inbound.rpc_inference.{name}")).bytes;
        let step = StepMetadata::decode(&bytes).unwrap();
        assert_eq!(step.start_from_position, Some(position));
        assert_eq!(step.session_id.as_ref().map(String::len), Some(36));
        assert_eq!(step.encode(), bytes, "{name}");
    }
}

/// These were accepted by a Petals server; their maker wrote the keys in another order than we do.
#[test]
fn metadata_accepted_by_the_python_server() {
    let bytes = vector(CALLS, "petals.rpc_inference.metadata.step0").bytes;
    let open = OpenMetadata::decode(&bytes).unwrap();
    assert_eq!(
        open.step.session_id.as_deref(),
        Some("cef2abca-5323-4845-8b05-f8ce8e6c39f6")
    );
    assert_eq!(open.encode().len(), bytes.len());
    assert_eq!(OpenMetadata::decode(&open.encode()), Ok(open));
    for step in [1, 2] {
        let bytes = vector(CALLS, &format!("petals.rpc_inference.metadata.step{step}")).bytes;
        assert_eq!(StepMetadata::decode(&bytes).unwrap().encode(), bytes);
    }
}

#[test]
fn metadata_of_a_push() {
    let bytes = vector("misc_push", "server_push.metadata").bytes;
    let pushed = StepMetadata {
        session_id: Some("target-session".to_owned()),
        step_id: Some("st-2".to_owned()),
        next_servers: vec![NextServer {
            peer_id: "QmX".to_owned(),
            session_id: "s3".to_owned(),
            span: Span::new(4, 6).unwrap(),
        }],
        pushed: true,
        ..StepMetadata::default()
    };
    assert_eq!(StepMetadata::decode(&bytes).as_ref(), Ok(&pushed));
    assert_eq!(pushed.encode(), bytes);
}

/// Gives `bytes` to every decoder there is, as a whole and, for envelopes, as its inner bytes.
fn decode_everything(bytes: &[u8]) {
    let mut buffer = BytesMut::from(bytes);
    while let Ok(Some(_)) = StreamDecoder::new(MAX_STREAM_FRAME_BYTES).decode(&mut buffer) {}
    let mut inner = vec![Bytes::copy_from_slice(bytes)];
    if let Ok(Some(request)) = decode_request(&mut BytesMut::from(bytes)) {
        inner.push(request.body);
    }
    if let Ok(Some(reply)) = decode_reply(&mut BytesMut::from(bytes)) {
        inner.extend(reply.result);
    }
    for body in inner {
        if let Ok(request) = ExpertRequest::decode(body.clone()) {
            let _ = BlockChain::parse(&request.uid);
            let _ = OpenMetadata::decode(&request.metadata);
            let _ = ForwardMetadata::decode(&request.metadata);
        }
        let _ = ExpertResponse::decode(body.clone());
        let _ = ExpertUid::decode(body.clone());
        let info = ExpertInfo::decode(body.clone());
        let info = info.map_or_else(|_| body.clone(), |info| info.serialized_info);
        let _ = ServerRpcInfo::decode(&info);
        let _ = ReachabilityRequest::decode(body.clone());
        let _ = ReachabilityResponse::decode(body.clone());
        let _ = WireTensor::decode(body.clone());
        let _ = StepMetadata::decode(&body);
        let _ = ServerRecord::decode(&body);
        let _ = ModelRecord::decode(&body);
    }
}

proptest! {
    #[test]
    fn damaged_golden_bytes_never_panic(
        pick: prop::sample::Index,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut: prop::sample::Index,
    ) {
        static GOLDEN: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
            FILES.iter().flat_map(|file| vectors(file)).map(|vector| vector.bytes).collect()
        });
        let mut bytes = pick.get(&GOLDEN).clone();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        decode_everything(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        decode_everything(&bytes);
    }
}
